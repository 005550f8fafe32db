"""The folder of an experiment: what was asked, what is done, what came of it."""

import fcntl
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, TypeAdapter, ValidationError

from quandary.errors import CorruptArtefact, FailedPrecondition, InvalidArgument, NotFound
from quandary_server.experiment.differences import told_differences
from quandary_server.experiment.fingerprint import CODE, Fingerprint
from quandary_server.experiment.replay.rounds import ArmRecord, JudgedClasses
from quandary_server.experiment.settings import ExperimentSettings
from quandary_server.files import write_atomically

SETTINGS, FINGERPRINT, CROPS, SECONDS = "settings.json", "fingerprint.json", "crops.json", "seconds.json"
OTHER_CODE, JUDGED, LOCK = "other_code.json", "judged_classes.json", ".lock"

NUMBERED = "?*-[0-9][0-9][0-9].json"
"""Names of records: what was run, and the seed."""

HELD_OUT = TypeAdapter(Mapping[str, Any])
DIGESTS = TypeAdapter(Mapping[str, str])
CODES = TypeAdapter(list[str])
CLASSES_JUDGED = TypeAdapter(Mapping[str, JudgedClasses])

Kind = TypeVar("Kind")


class Spent(BaseModel):
    """The wall time that was spent, in seconds."""

    seconds: float


@dataclass(frozen=True, slots=True)
class ArmPlan:
    """One method with one seed in one replay."""

    replay: str
    method: str
    seed: int

    def __str__(self) -> str:
        return f"{self.replay}: {self.method}, seed {self.seed}"

    @property
    def file(self) -> str:
        """Where its record lies."""
        return f"arms/{self.replay}/{self.method}-{self.seed:03d}.json"


@dataclass(frozen=True, slots=True)
class HeldOutPlan:
    """One training without a class."""

    class_name: str
    seed: int

    def __str__(self) -> str:
        return f"without {self.class_name}, seed {self.seed}"

    @property
    def file(self) -> str:
        """Where its record lies."""
        return f"held_out/{self.class_name}-{self.seed:03d}.json"


def arm_plans(settings: ExperimentSettings) -> list[ArmPlan]:
    """Return all arms in the order in which they are run: replay by replay, in each seed by seed."""
    return [
        ArmPlan(name, method, seed)
        for name, replay in settings.replays.items()
        for seed in range(max(replay.methods.values()))
        for method, seeds in replay.methods.items()
        if seed < seeds
    ]


def held_out_plans(settings: ExperimentSettings) -> list[HeldOutPlan]:
    """Return all trainings without a class, in the order in which they are run."""
    asked = settings.held_out
    return [] if asked is None else [HeldOutPlan(name, seed) for seed in range(asked.seeds) for name in asked.classes]


class ExperimentFolder:
    """Reads and writes the folder; every file whole or not at all.

    What reads a file raises CorruptArtefact, with its path, where it is torn.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    @property
    def pools(self) -> Path:
        """Where pools are kept."""
        return self.root / "pools"

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Run in the folder alone while the body runs; raises FailedPrecondition where another process runs there."""
        self.root.mkdir(parents=True, exist_ok=True)
        with (self.root / LOCK).open("a") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise FailedPrecondition(f"an experiment is running in {self.root}: wait for it, or stop it") from None
            yield

    def claim(self, settings: ExperimentSettings, *, any_code: bool = False) -> None:
        """Make the folder that of these settings, and of the methods and the code as they are now.

        any_code: go on where nothing but the code differs, which is kept for the figures to tell. Until its crops are known a
        folder is nobody's: what was refused for a mistake can be mended and run there. Raises InvalidArgument naming what
        differs (fields of the settings with both values, code, method NAME, box weight), and for a folder that does not say
        what it was begun with.
        """
        current = Fingerprint.of(settings)
        if not self._begun:
            self._write(FINGERPRINT, current.model_dump_json(indent=1))
            self._write(SETTINGS, settings.model_dump_json(indent=1))
            return
        differing = [f"settings ({told})"] if (told := told_differences(self.settings(), settings)) else []
        differing += self._fingerprint().differences(current)
        if differing == [CODE] and not any_code:
            raise self._of_another("code (--any-code goes on all the same)")
        if set(differing) - {CODE}:
            raise self._of_another(", ".join(differing))
        if differing and current.code not in (before := self.other_code()):
            self._write(OTHER_CODE, json.dumps([*before, current.code]))

    def other_code(self) -> list[str]:
        """Return the digests of the code that the experiment was gone on with, besides that which it was begun with."""
        path = self.root / OTHER_CODE
        return _read(path, CODES, "does not tell the code") if path.is_file() else []

    def claim_crops(self, digests: Mapping[str, str]) -> None:
        """Make the folder that of these crops, digests by their use; raises InvalidArgument naming the uses that differ.

        What is picked is kept as indices into the pool: they mean nothing in another.
        """
        path = self.root / CROPS
        if not path.is_file():
            self._write(CROPS, json.dumps(digests, indent=1))
            return
        kept = _read(path, DIGESTS, "does not tell the crops; begin a new folder")
        if differing := sorted(name for name in kept.keys() | digests.keys() if kept.get(name) != digests.get(name)):
            raise self._of_another(f"crops of {', '.join(differing)}")

    def judged_classes(self) -> Mapping[str, JudgedClasses]:
        """Return which classes each replay's macro recall is over; empty where a run of before did not keep them."""
        path = self.root / JUDGED
        return _read(path, CLASSES_JUDGED, "does not tell the classes; delete it and run again") if path.is_file() else {}

    def write_judged_classes(self, judged: Mapping[str, JudgedClasses]) -> None:
        """Keep which classes each replay's macro recall is over."""
        self._write(JUDGED, CLASSES_JUDGED.dump_json(judged, indent=1).decode())

    def settings(self) -> ExperimentSettings:
        """Return what was asked; raises NotFound where nothing was, CorruptArtefact where it cannot be read."""
        path = self.root / SETTINGS
        if not path.is_file():
            raise NotFound(f"there is no experiment in {self.root}")
        return _read(path, TypeAdapter(ExperimentSettings), "is not that of an experiment, or of another version")

    def arm(self, plan: ArmPlan) -> ArmRecord | None:
        """Return the record of an arm so far, None where it was not begun."""
        path = self.root / plan.file
        if not path.is_file():
            return None
        return _read(path, TypeAdapter(ArmRecord), "is no record of an arm; delete it to run the arm again")

    def arms(self) -> Iterator[ArmRecord]:
        """Yield the records of all arms that were begun; files that are named otherwise are passed over."""
        for path in sorted((self.root / "arms").glob(f"*/{NUMBERED}")):
            record = self.arm(ArmPlan(path.parent.name, path.stem[:-4], int(path.stem[-3:])))
            if record is not None:
                yield record

    def write_arm(self, plan: ArmPlan, record: ArmRecord) -> None:
        """Keep the record of an arm."""
        self._write(plan.file, record.model_dump_json())

    def held_out(self, plan: HeldOutPlan) -> Mapping[str, Any] | None:
        """Return what came of a training without a class, None where it was not done."""
        path = self.root / plan.file
        return self._held_out(path) if path.is_file() else None

    def all_held_out(self) -> list[Mapping[str, Any]]:
        """Return what came of all trainings without a class; files that are named otherwise are passed over."""
        return [self._held_out(path) for path in sorted((self.root / "held_out").glob(NUMBERED))]

    def missing_held_out(self) -> list[HeldOutPlan]:
        """Return the trainings without a class that were asked for and are not done."""
        return [plan for plan in held_out_plans(self.settings()) if self.held_out(plan) is None]

    def write_held_out(self, plan: HeldOutPlan, found: Mapping[str, Any]) -> None:
        """Keep what came of a training without a class."""
        self._write(plan.file, json.dumps(found))

    def seconds(self) -> float:
        """Return the wall time that was spent on the experiment, pools included, in seconds, all runs together."""
        path = self.root / SECONDS
        if not path.is_file():
            return 0.0
        return _read(path, TypeAdapter(Spent), "does not tell the time spent; delete it to count anew").seconds

    def write_seconds(self, seconds: float) -> None:
        """Keep the wall time."""
        self._write(SECONDS, Spent(seconds=seconds).model_dump_json())

    @property
    def _begun(self) -> bool:
        known = (self.root / CROPS).is_file() or any((self.root / "arms").glob(f"*/{NUMBERED}"))
        return known and (self.root / SETTINGS).is_file()

    def _fingerprint(self) -> Fingerprint:
        path = self.root / FINGERPRINT
        if not path.is_file():
            bound = "a new folder: this one does not say which code and methods it was begun with; it can still be reported"
            raise InvalidArgument.of("out", self.root, bound)
        return _read(path, TypeAdapter(Fingerprint), "does not tell code and methods; begin a new folder")

    def _held_out(self, path: Path) -> Mapping[str, Any]:
        return _read(path, HELD_OUT, "is no record of a training without a class; delete it to run the training again")

    def _of_another(self, differing: str) -> InvalidArgument:
        return InvalidArgument.of("out", self.root, f"a new folder, or that of the same experiment; what differs: {differing}")

    def _write(self, name: str, text: str) -> None:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, text.encode(), durable=False)


def _read(path: Path, kind: TypeAdapter[Kind], problem: str) -> Kind:
    try:
        return kind.validate_json(path.read_bytes())
    except ValidationError as error:
        raise CorruptArtefact(f"{path} {problem}: {error}") from None
