"""The record of a round, as it is kept."""

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict


class JudgedClasses(BaseModel):
    """Classes that a replay's macro recall is over, and others that the evaluation drives show, each with its crops there."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    judged: Mapping[str, int]
    left_out: Mapping[str, int]


class Round(BaseModel):
    """One round of an arm. figures: by estimator, then by name. picked: what is labelled next, indices into the pool."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    number: int
    labels: int
    labelling_seconds: float
    classes: Mapping[str, int]
    steps: int
    cpu_seconds: float
    wall_seconds: float
    figures: Mapping[str, Mapping[str, float]]
    picked: Sequence[int]


class Judged(BaseModel):
    """How right the uncertainty of a net of so many labels is, by estimator."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    labels: int
    uncertainty: Mapping[str, Any]


class ArmRecord(BaseModel):
    """All rounds of an arm so far, what it began with, and how right the uncertainty is, if it was judged.

    uncertainty: by estimator, of the net that random sampling trained on the whole pool. at_stop: of the net of the round after
    which methods ask no more, by the method's own estimator; random sampling's by all, though it goes on.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    replay: str
    method: str
    seed: int
    first: Sequence[int] = ()
    rounds: Sequence[Round] = ()
    uncertainty: Mapping[str, Any] | None = None
    at_stop: Judged | None = None
    complete: bool = False
