"""What an experiment was begun with beside its settings: code and queries, which a run that goes on must share."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, Self

from pydantic import BaseModel, ConfigDict
from pydantic_core import to_jsonable_python

from quandary.options import Acquisition, Estimator
from quandary_server.experiment.methods import METHODS
from quandary_server.experiment.settings import ExperimentSettings
from quandary_server.experiment.source import DECIDING, source_digest
from quandary_server.uncertainty.acquisition import BOX_WEIGHT

CODE = "code"


class MethodPrint(BaseModel):
    """How a method scores and asks; plan: the fields of its QueryPlan."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    estimator: Estimator
    acquisition: Acquisition | None
    plan: Mapping[str, Any]


class Fingerprint(BaseModel):
    """code: SHA-256 of the source files that decide the outcome. methods: those that the experiment uses, by name."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    code: str
    box_weight: float
    methods: Mapping[str, MethodPrint]

    @classmethod
    def of(cls, settings: ExperimentSettings) -> Self:
        """Return the fingerprint that an experiment has now."""
        used = sorted({name for replay in settings.replays.values() for name in replay.methods})
        return cls(code=source_digest(*DECIDING), box_weight=BOX_WEIGHT, methods={name: _method_print(name) for name in used})

    def differences(self, other: "Fingerprint") -> list[str]:
        """Return which parts differ from another's: code, box weight, method NAME."""
        shared = self.methods.keys() & other.methods.keys()
        found = [CODE] if self.code != other.code else []
        found += ["box weight"] if self.box_weight != other.box_weight else []
        return found + [f"method {name}" for name in sorted(shared) if self.methods[name] != other.methods[name]]


def _method_print(name: str) -> MethodPrint:
    method = METHODS[name]
    # as it is read back: a tuple is a list then
    plan = to_jsonable_python(asdict(method.plan))
    return MethodPrint(estimator=method.estimator, acquisition=method.acquisition, plan=plan)
