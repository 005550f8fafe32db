"""What an experiment is to do: the YAML file, checked."""

from collections.abc import Collection, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from quandary.errors import InvalidArgument
from quandary.labels import LABEL_CLASSES
from quandary_server.datasets.sources import ProposalSource
from quandary_server.detector.settings import FitSettings, NetSettings
from quandary_server.experiment.methods import METHODS, RANDOM
from quandary_server.experiment.yaml_file import check_switches, read_yaml
from quandary_server.settings import refused
from quandary_server.simulator.settings import FleetSettings

FULL = "full"
PACKAGED = (FULL, "quick", "query", "served")

HELD_OUT = "held_out"
"""The trainings without a class, where parts of an experiment are named."""

MAX_STEPS = 1_000_000

MAX_SECONDS = 86_400.0
"""Nobody looks longer than a day at a frame."""

Steps = Annotated[int, Field(ge=1, le=MAX_STEPS)]
Seconds = Annotated[float, Field(ge=0, le=MAX_SECONDS)]


class Part(BaseModel):
    """A part of the file: frozen, and no name that is not known."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class FleetSource(Part):
    """A simulated fleet."""

    kind: Literal["fleet"] = "fleet"
    fleet: FleetSettings


class FolderSource(Part):
    """A folder in the KITTI object layout whose frames.csv splits it by drive."""

    kind: Literal["folder"] = "folder"
    path: str = Field(default="", description="the folder; empty: the one that QUANDARY_KITTI names")


class SnapshotSource(Part):
    """Labels exported from the store: the Parquet file of a training run; its control drives are held out."""

    kind: Literal["snapshot"] = "snapshot"
    path: str = Field(description="the file")


class NoiseSettings(Part):
    """What is done to the camera's 2D boxes."""

    shift: float = Field(default=0.0, ge=0, le=1, description="standard deviation of a shift, in shares of the box's sides")
    scale: float = Field(default=0.0, ge=0, le=1, description="standard deviation of the logarithm of the sides' factors")
    missed: float = Field(default=0.0, ge=0, lt=1, description="share of the boxes that are not there")


class PoolSettings(Part):
    """Where labelled crops come from, and what the camera proposes."""

    source: FleetSource | FolderSource | SnapshotSource = Field(discriminator="kind")
    proposals: ProposalSource = Field(default=ProposalSource.LABELS, description="labels' own boxes, or published detections")
    noise: NoiseSettings = NoiseSettings()
    evaluation: tuple[Literal["control", "evaluation"], ...] = Field(
        default=("evaluation",), min_length=1, description="splits that are evaluated on"
    )
    held_out_every: int = Field(default=1, ge=1, description="of control and evaluation drives every so many-th frame is kept")

    @model_validator(mode="after")
    def _as_stored(self) -> Self:
        if self.source.kind == "snapshot" and (self.proposals is not ProposalSource.LABELS or self.held_out_every > 1):
            raise ValueError(
                "labels of the store keep the proposals and frames they were given for: no proposals, no held_out_every"
            )
        return self

    @field_validator("evaluation")
    @classmethod
    def _each_once(cls, splits: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(splits)) < len(splits):
            raise ValueError(f"{', '.join(splits)} must name each split once")
        return splits


class StepsSettings(Part):
    """Steps of a member by the number of its labels: `at_1000` x (labels / 1000) ^ growth, held between least and most."""

    at_1000: Steps = Field(default=500, description="steps at a thousand labels")
    growth: float = Field(default=0.5, ge=0, le=1, description="exponent: 0 is the same number of steps for all")
    least: Steps = Field(default=200, description="steps for few labels")
    most: Steps = Field(default=2000, description="steps for many labels")

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.least > self.most:
            raise InvalidArgument.of("least", self.least, f"at most most, {self.most}")
        return self

    def steps(self, labels: int) -> int:
        """Return the steps for so many labels."""
        return int(min(max(round(self.at_1000 * (labels / 1000) ** self.growth), self.least), self.most))


class ReplaySettings(Part):
    """One replay: a pool, methods, seeds and budgets. Methods stand with the number of seeds each is given."""

    title: str = Field(min_length=1, description="what the report calls it")
    pool: PoolSettings
    pretraining: PoolSettings | None = Field(default=None, description="crops that every training has beside the labels")
    unit: Literal["crop", "frame"] = Field(default="crop", description="what is queried; a frame costs all its crops")
    methods: dict[str, Annotated[int, Field(ge=1, le=100)]] = Field(min_length=1)
    budgets: tuple[Annotated[int, Field(ge=2)], ...] = Field(min_length=2, description="labels at which a net is trained")
    stop_at: int | None = Field(default=None, ge=2, description="labels beyond which only random sampling goes on")
    full_pool: bool = Field(default=True, description="random sampling ends with the whole pool: what targets are shares of")

    judge: bool = Field(default=False, description="judge the uncertainty of what the whole pool gives")

    def with_seeds(self, most: int) -> Self:
        """Return the replay with each method on at most so many seeds, the first."""
        return self.model_copy(update={"methods": {name: min(seeds, most) for name, seeds in self.methods.items()}})

    def with_methods(self, names: Collection[str]) -> Self:
        """Return the replay with those of its methods that are named."""
        return self.model_copy(update={"methods": {name: seeds for name, seeds in self.methods.items() if name in names}})

    @model_validator(mode="after")
    def _sound(self) -> Self:
        methods = ", ".join(self.methods)
        if not self.methods.keys() <= METHODS.keys():
            raise InvalidArgument.of("methods", methods, f"some of {', '.join(METHODS)}")
        if RANDOM not in self.methods:
            raise InvalidArgument.of("methods", methods, f"with {RANDOM} among them, which the others are compared with")
        if list(self.budgets) != sorted(set(self.budgets)):
            raise InvalidArgument.of("budgets", list(self.budgets), "in rising order, none twice")
        if self.stop_at is not None and self.stop_at < self.budgets[1]:
            bound = f"at least the second budget, {self.budgets[1]}: else nothing is asked for"
            raise InvalidArgument.of("stop_at", self.stop_at, bound)
        if self.judge and "control" in self.pool.evaluation:
            raise InvalidArgument.of("judge", "true", "false where control drives are evaluated on: it fits on them")
        if self.judge and not self.full_pool:
            raise InvalidArgument.of("judge", "true", "false without full_pool: it is of what the whole pool gives")
        return self


class HeldOutSettings(Part):
    """Out of distribution: nets that never saw a class."""

    pool: PoolSettings
    classes: tuple[str, ...] = Field(min_length=1, description="each is left out of a training of its own")
    seeds: int = Field(default=2, ge=1, le=100)

    @model_validator(mode="after")
    def _known(self) -> Self:
        if not set(self.classes) <= set(LABEL_CLASSES):
            raise InvalidArgument.of("classes", ", ".join(self.classes), f"some of {', '.join(LABEL_CLASSES)}")
        if len(set(self.classes)) < len(self.classes):
            raise InvalidArgument.of("classes", ", ".join(self.classes), "classes that differ")
        return self


class CostSettings(Part):
    """What labelling costs."""

    seconds_per_frame: Seconds = Field(default=10.0, description="opening a frame in which anything is labelled")
    seconds_per_crop: Seconds = Field(default=5.0, description="looking at a crop, Background included")
    seconds_per_box: Seconds = Field(default=114.0, description="drawing a 3D box by hand (published figure)")
    euros_per_hour: float = Field(default=20.0, ge=0, le=10_000, description="what an annotator's hour costs")


class ExperimentSettings(Part):
    """A whole experiment."""

    title: str = Field(min_length=1)
    seed: int = Field(default=0, ge=0, lt=2**63, description="all draws follow from it: noise, first labels, fits, queries")
    members: int = Field(default=3, ge=2, le=32)
    mc_samples: int = Field(default=20, ge=2, le=200, description="dropout masks per member")
    net: NetSettings = NetSettings()
    fit: FitSettings = FitSettings()
    steps: StepsSettings = StepsSettings()
    targets: tuple[Annotated[float, Field(gt=0, le=1)], ...] = Field(default=(0.95, 0.98, 0.99), min_length=1)
    cost: CostSettings = CostSettings()
    replays: dict[Annotated[str, Field(pattern=r"^[a-z0-9_]+$")], ReplaySettings] = {}
    held_out: HeldOutSettings | None = None

    @model_validator(mode="after")
    def _scattered(self) -> Self:
        alike = [name for replay in self.replays.values() for name in replay.methods if METHODS[name].masked_alone]
        if alike and self.net.dropout == 0:
            bound = f"above 0: all masks of {', '.join(dict.fromkeys(alike))} would be the same"
            raise InvalidArgument.of("net.dropout", self.net.dropout, bound)
        return self

    @model_validator(mode="after")
    def _sound(self) -> Self:
        if not self.replays and self.held_out is None:
            raise InvalidArgument.of("replays", "empty", f"at least one, or {HELD_OUT}")
        if HELD_OUT in self.replays:
            raise InvalidArgument.of(f"replays.{HELD_OUT}", "a replay", "called otherwise: --only names the trainings so")
        if self.fit.steps != (usual := FitSettings().steps):
            raise InvalidArgument.of("fit.steps", self.fit.steps, f"left out, or {usual}: steps tells how many there are")
        if len({round(target, 6) for target in self.targets}) < len(self.targets):
            raise InvalidArgument.of("targets", list(self.targets), "shares that differ")
        return self

    def part(self, only: Sequence[str], methods: Sequence[str], seeds: int | None = None) -> Self:
        """Return these replays with these methods and random sampling, on at most so many seeds; all where none is named.

        `held_out` among the replays is the trainings without a class. Replays that have none of the methods, and those
        trainings where they are not named, are left out. Raises InvalidArgument for a replay that is not there, and for a
        method that none of them has.
        """
        _check_there("only", only, [*self.replays, *([HELD_OUT] if self.held_out else [])])
        chosen = {name: replay for name, replay in self.replays.items() if not only or name in only}
        if methods:
            _check_there("method", methods, {name for replay in chosen.values() for name in replay.methods})
            chosen = {
                name: replay.with_methods({RANDOM, *methods})
                for name, replay in chosen.items()
                if replay.methods.keys() & set(methods)
            }
        held_out = self.held_out if HELD_OUT in only or not (only or methods or seeds) else None
        if seeds is not None:
            chosen = {name: replay.with_seeds(seeds) for name, replay in chosen.items()}
            held_out = held_out and held_out.model_copy(update={"seeds": min(seeds, held_out.seeds)})
        return self.model_copy(update={"replays": chosen, HELD_OUT: held_out})


def _check_there(name: str, asked: Sequence[str], there: Collection[str]) -> None:
    if missing := [each for each in asked if each not in there]:
        bound = f"any of {', '.join(sorted(there))}" if there else "left out: no replay is asked for"
        raise InvalidArgument.of(name, ", ".join(missing), bound)


def load_experiment(name: str) -> ExperimentSettings:
    """Return the experiment of a YAML file, or of one of the packaged ones by its name (full, quick, query, served).

    Raises InvalidArgument naming file or field, value and bound.
    """
    if name in PACKAGED:
        content = files("quandary_server.experiment").joinpath("configs", f"{name}.yaml").read_bytes()
    elif Path(name).is_file():
        content = Path(name).read_bytes()
    else:
        raise InvalidArgument.of("config", name, f"a YAML file, or one of {', '.join(PACKAGED)}")
    document = read_yaml(name, content)
    try:
        found = ExperimentSettings.model_validate(document)
    except ValidationError as error:
        raise refused(error) from None
    check_switches(document, found.model_dump())
    return found
