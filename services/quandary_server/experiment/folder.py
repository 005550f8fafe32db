"""The folder of an experiment: what was asked, what is done, what came of it."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from quandary.errors import CorruptArtefact, InvalidArgument, NotFound
from quandary_server.experiment.replay.rounds import ArmRecord
from quandary_server.experiment.settings import ExperimentSettings
from quandary_server.files import write_atomically

SETTINGS, SECONDS = "settings.json", "seconds.json"


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


class ExperimentFolder:
    """Reads and writes the folder; every file whole or not at all."""

    def __init__(self, root: Path) -> None:
        self.root = root

    @property
    def pools(self) -> Path:
        """Where pools are kept."""
        return self.root / "pools"

    def claim(self, settings: ExperimentSettings) -> None:
        """Make the folder that of these settings; raises InvalidArgument where it is another experiment's."""
        path = self.root / SETTINGS
        if path.is_file():
            if self.settings() != settings:
                raise InvalidArgument.of("out", self.root, "a new folder, or that of the same experiment: its settings differ")
            return
        self._write(SETTINGS, settings.model_dump_json(indent=1))

    def settings(self) -> ExperimentSettings:
        """Return what was asked; raises NotFound where nothing was, CorruptArtefact where it cannot be read."""
        path = self.root / SETTINGS
        if not path.is_file():
            raise NotFound(f"there is no experiment in {self.root}")
        try:
            return ExperimentSettings.model_validate_json(path.read_bytes())
        except ValidationError as error:
            raise CorruptArtefact(f"{path} is not that of an experiment, or of another version: {error}") from None

    def arm(self, plan: ArmPlan) -> ArmRecord | None:
        """Return the record of an arm so far, None where it was not begun; raises CorruptArtefact for one that is torn."""
        path = self.root / plan.file
        if not path.is_file():
            return None
        try:
            return ArmRecord.model_validate_json(path.read_bytes())
        except ValidationError as error:
            raise CorruptArtefact(f"{path} is no record of an arm; delete it to run the arm again: {error}") from None

    def arms(self) -> Iterator[ArmRecord]:
        """Yield the records of all arms that were begun."""
        for path in sorted((self.root / "arms").glob("*/*.json")):
            record = self.arm(ArmPlan(path.parent.name, path.stem[:-4], int(path.stem[-3:])))
            if record is not None:
                yield record

    def write_arm(self, plan: ArmPlan, record: ArmRecord) -> None:
        """Keep the record of an arm."""
        self._write(plan.file, record.model_dump_json())

    def held_out(self, plan: HeldOutPlan) -> Mapping[str, Any] | None:
        """Return what came of a training without a class, None where it was not done."""
        path = self.root / plan.file
        return json.loads(path.read_bytes()) if path.is_file() else None

    def all_held_out(self) -> list[Mapping[str, Any]]:
        """Return what came of all trainings without a class."""
        return [json.loads(path.read_bytes()) for path in sorted((self.root / "held_out").glob("*.json"))]

    def write_held_out(self, plan: HeldOutPlan, found: Mapping[str, Any]) -> None:
        """Keep what came of a training without a class."""
        self._write(plan.file, json.dumps(found))

    def seconds(self) -> float:
        """Return the wall time that was spent on the experiment, in seconds, all runs together."""
        path = self.root / SECONDS
        return float(json.loads(path.read_bytes())["seconds"]) if path.is_file() else 0.0

    def write_seconds(self, seconds: float) -> None:
        """Keep the wall time."""
        self._write(SECONDS, json.dumps({"seconds": seconds}))

    def _write(self, name: str, text: str) -> None:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, text.encode(), durable=False)
