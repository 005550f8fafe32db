"""What a run is to do."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

from quandary.errors import InvalidArgument


@dataclass(frozen=True)
class RunPlan:
    """What was asked of a run."""

    members: int
    steps: int
    seed: int
    promote: bool

    def to_settings(self) -> dict[str, Any]:
        """Return it as a run keeps it."""
        return asdict(self)

    @classmethod
    def of_settings(cls, settings: Mapping[str, Any]) -> Self:
        """Return the plan that a run keeps; raises InvalidArgument for one that was made by another program."""
        missing = [name for name in cls.__dataclass_fields__ if name not in settings]
        if missing:
            raise InvalidArgument.of("settings", f"without {missing[0]}", "the plan of a run of this program")
        return cls(**{name: settings[name] for name in cls.__dataclass_fields__})
