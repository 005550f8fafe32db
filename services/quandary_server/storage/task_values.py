"""The values of the queues: what comes in from a fleet log, a task as it stands, and the counts."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from quandary.errors import InvalidArgument
from quandary.frames import check_identifier
from quandary_server.leasing.order import Place, PriorityBand
from quandary_server.leasing.status import TaskState, TaskStatus

__all__ = [
    "ACTIVE_QUEUE",
    "CONTROL_QUEUE",
    "NewScore",
    "QueueStats",
    "RejectKind",
    "RejectedEntry",
    "Rejection",
    "ScoredTask",
    "TakenTask",
    "Task",
    "TaskEntry",
]

ACTIVE_QUEUE = "active"
"""The frames that the detector is unsure about, but for those that have a queue of their own by the settings."""

CONTROL_QUEUE = "control"
"""Random frames of the control drives: labelled for evaluation, never trained on."""


@dataclass(frozen=True, slots=True)
class TaskEntry:
    """A log entry that becomes a task.

    record: the serialised FrameRecord. crops: its number of proposals. shuffle: decides among equals, in [0, 2^63).
    ego_position_m: of the LiDAR in the drive's frame, where known.
    ranked_queue: where it belongs should `queue` be that of the control drives, and its drive be known not to be one.
    score, generation, frame_score: the score, the generation that gave it and the serialised FrameScore; none while unscored.
    Raises InvalidArgument for a malformed id, a negative number, or a score that is not finite or has no generation.
    """

    position: int
    queue: str
    frame_id: str
    drive_id: str
    stamp: datetime
    record: bytes = field(repr=False)
    crops: int
    shuffle: int
    score: float | None = None
    generation: str = ""
    frame_score: bytes | None = field(default=None, repr=False)
    tags: Mapping[str, str] = field(default_factory=dict)
    ego_position_m: tuple[float, float, float] | None = None
    ranked_queue: str = ACTIVE_QUEUE

    def __post_init__(self) -> None:
        for name in ("queue", "ranked_queue", "frame_id", "drive_id"):
            check_identifier(name, getattr(self, name))
        if self.crops < 0:
            raise InvalidArgument.of("crops", self.crops, ">= 0")
        if self.score is not None:
            check_score(self.score, self.generation)
        elif self.generation or self.frame_score is not None:
            raise InvalidArgument.of("score", "missing", "set, where there is a generation or FrameScore")
        self.place(PriorityBand.ACTIVE_LEARNING, rank=None, pinned=False)

    def place(self, band: PriorityBand, rank: int | None, pinned: bool) -> Place:
        """Return the entry's place in the lease order."""
        return Place(self.frame_id, self.shuffle, self.score, rank, band, pinned)


class RejectKind(StrEnum):
    """What was wrong with a log entry, in few words, for metrics."""

    UNDECODABLE = "undecodable"
    INVALID = "invalid"
    CLOUD = "cloud"
    NOT_SCORABLE = "not_scorable"
    OTHER_DRIVE = "other_drive"
    UNREADABLE = "unreadable"


@dataclass(frozen=True, slots=True)
class RejectedEntry:
    """A log entry that was refused: why, and its payload for those who look. frame_id: empty if it could not be read.

    kind: counted, not kept.
    """

    position: int
    reason: str
    payload: bytes = field(repr=False)
    frame_id: str = ""
    kind: RejectKind = RejectKind.INVALID


@dataclass(frozen=True, slots=True)
class Rejection:
    """A log entry that was refused, as it is kept. log: its source. payload_bytes: how much is kept of it."""

    log: str
    position: int
    frame_id: str
    reason: str
    time: datetime
    payload_bytes: int


@dataclass(frozen=True, slots=True)
class NewScore:
    """A frame scored anew; frame_score: the serialised FrameScore. Raises InvalidArgument unless finite and >= 0."""

    frame_id: str
    score: float
    frame_score: bytes = field(repr=False)

    def __post_init__(self) -> None:
        check_score(self.score, "new")


@dataclass(frozen=True, slots=True)
class ScoredTask:
    """What the query needs of a waiting task; crops: what a label of it costs.

    ego_position_m: of the LiDAR in the drive's frame, None where it is not known. tags: None unless asked for.
    """

    frame_id: str
    drive_id: str
    stamp: datetime
    score: float
    generation: str
    crops: int
    ego_position_m: Sequence[float] | None = None
    tags: Mapping[str, str] | None = None


@dataclass(frozen=True, slots=True)
class TakenTask:
    """What the query needs of a task that is leased or acknowledged; generation: empty if it was taken unscored.

    leased: not acknowledged yet. ego_position_m, tags: as of ScoredTask.
    """

    frame_id: str
    drive_id: str
    stamp: datetime
    generation: str
    crops: int
    leased: bool = False
    ego_position_m: Sequence[float] | None = None
    tags: Mapping[str, str] | None = None


@dataclass(frozen=True, slots=True)
class Task:
    """One frame of one queue as it stands.

    record: the serialised FrameRecord. frame_score: the serialised FrameScore, None while unscored. folded_under: the frame
    that this one is a near copy of, if any. siblings: the frames folded under this one, by stamp; where it was asked for.
    """

    queue: str
    drive_id: str
    stamp: datetime
    crops: int
    place: Place
    status: TaskStatus
    generation: str
    enqueued: datetime
    tags: Mapping[str, str]
    record: bytes = field(repr=False)
    frame_score: bytes | None = field(repr=False)
    skip_reason: str = ""
    skip_comment: str = ""
    folded_under: str = ""
    siblings: tuple[str, ...] = ()

    @property
    def frame_id(self) -> str:
        """The frame."""
        return self.place.frame_id

    @property
    def state(self) -> TaskState:
        """The state."""
        return self.status.state


@dataclass(frozen=True, slots=True)
class QueueStats:
    """Counts of a queue; expired leases are waiting or dead letters.

    waiting: tasks that can be leased. folded: waiting near copies of others, which cannot. unscored: waiting tasks without a
    score, behind: those without a score of the generation asked about, the folded included. oldest_waiting: when the oldest
    waiting task was enqueued. rejected: entries refused, of all logs and queues together.
    """

    queue: str
    waiting: int
    folded: int
    leased: int
    acknowledged: int
    skipped: int
    dead_letter: int
    unscored: int
    behind: int
    oldest_waiting: datetime | None
    rejected: int


def check_score(score: float, generation: str) -> None:
    """Raise InvalidArgument unless the score is finite, >= 0 and of a named generation."""
    if not (math.isfinite(score) and score >= 0):
        raise InvalidArgument.of("score", score, "finite, >= 0")
    if not generation:
        raise InvalidArgument.of("generation", "missing", "set, where there is a score")
