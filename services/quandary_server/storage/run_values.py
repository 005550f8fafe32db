"""The values of a training run."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from quandary.errors import WrongState

__all__ = ["Run", "RunLine", "RunStage", "RunState", "RunTaken", "RunTrigger"]


class RunTaken(WrongState):
    """The run is over, or another trainer carries it: whoever was taken for dead stops here."""


class RunState(StrEnum):
    """State of a run."""

    RUNNING = "running"
    SUCCEEDED = "succeeded"
    REFUSED = "refused"
    FAILED = "failed"
    CANCELLED = "cancelled"


class RunStage(StrEnum):
    """What a run is doing, in this order."""

    SNAPSHOT = "snapshot"
    TRAINING = "training"
    EXPORT = "export"
    GATES = "gates"
    REGISTER = "register"
    SHADOW = "shadow"
    PROMOTE = "promote"
    DONE = "done"


class RunTrigger(StrEnum):
    """What started a run."""

    CALL = "call"
    LABELS = "labels"
    INTERVAL = "interval"
    DRIFT = "drift"


@dataclass(frozen=True, slots=True)
class Run:
    """One training run.

    requester: who called for it, empty where it started by itself. heartbeat: when its trainer last wrote. settings, gates,
    metrics: JSON that the trainer gives meaning. label_sequence: the newest label there was when it started, then the newest in
    its snapshot; 0 where there was none. training_frames, training_crops: in its snapshot, control drives excluded.
    control_crops: those of the control drives. holder: the trainer that carries it. resumptions: how often another trainer went
    on with it because the one before had died.
    """

    id: str
    state: RunState
    stage: RunStage
    stage_progress: float
    trigger: RunTrigger
    requester: str
    start_time: datetime
    end_time: datetime | None
    heartbeat: datetime
    settings: Mapping[str, Any]
    label_sequence: int = 0
    training_frames: int = 0
    training_crops: int = 0
    control_crops: int = 0
    generation: str = ""
    gates: Sequence[Mapping[str, Any]] = ()
    metrics: Mapping[str, float] = field(default_factory=dict)
    error: str = ""
    holder: str = ""
    resumptions: int = 0


@dataclass(frozen=True, slots=True)
class RunLine:
    """A line that a run told; id: grows with every line."""

    id: int
    time: datetime
    text: str
