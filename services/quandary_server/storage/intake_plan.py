"""What a batch of log entries does to what is known already. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from quandary_server.leasing.order import Place, PriorityBand
from quandary_server.leasing.status import TaskState
from quandary_server.storage.task_values import CONTROL_QUEUE, RejectedEntry, RejectKind, TaskEntry

__all__ = ["IntakePlan", "KnownFrame", "KnownTask", "plan_intake"]


@dataclass(frozen=True, slots=True)
class KnownTask:
    """A task of a known frame."""

    state: TaskState
    place: Place


@dataclass(frozen=True, slots=True)
class KnownFrame:
    """A frame that was logged before, with its tasks by queue."""

    drive_id: str
    tasks: Mapping[str, KnownTask]

    @property
    def queue(self) -> str | None:
        """The queue that it has; that of the control drives where it is in both."""
        return CONTROL_QUEUE if CONTROL_QUEUE in self.tasks else next(iter(self.tasks), None)

    @property
    def untouched(self) -> bool:
        """Whether no labeller has done anything about it."""
        return all(task.state is TaskState.WAITING for task in self.tasks.values())


@dataclass(frozen=True, slots=True)
class IntakePlan:
    """What to write: frames by id, tasks by queue and frame id, each with its place, and the rejected entries.

    unchanged: entries that say nothing new.
    """

    frames: Mapping[str, TaskEntry]
    tasks: Mapping[tuple[str, str], tuple[TaskEntry, Place]]
    rejected: Sequence[RejectedEntry]
    unchanged: int


def plan_intake(
    entries: Sequence[TaskEntry | RejectedEntry], known: Mapping[str, KnownFrame], queue_of_drive: Mapping[str, str]
) -> IntakePlan:
    """Return what the entries, in their order, do to the known frames.

    A known frame keeps its queue, whatever the entries say, and a known drive keeps being a control drive, or none: only a new
    one is what its first entry asks for. Of other drives each new frame goes where its entry asks for. What so comes to the
    control drives loses its score; what is kept from them goes to its ranked queue, has no score yet and waits for one.

    A frame logged again takes the new record and score while its tasks wait; what a labeller has touched stays as it is, and
    an entry without a score takes none away. An entry that claims a known frame for another drive is rejected: two vehicles
    use one id, and frames of a control drive must not get into training under it.
    """
    frames: dict[str, TaskEntry] = {}
    tasks: dict[tuple[str, str], tuple[TaskEntry, Place]] = {}
    rejected: list[RejectedEntry] = []
    unchanged = 0
    seen, queues = dict(known), dict(queue_of_drive)
    for entry in entries:
        if isinstance(entry, RejectedEntry):
            rejected.append(entry)
            continue
        frame = seen.get(entry.frame_id, KnownFrame(entry.drive_id, {}))
        if frame.drive_id != entry.drive_id:
            reason = f"frame_id is {entry.frame_id}, which is known as a frame of drive {frame.drive_id}"
            rejected.append(RejectedEntry(entry.position, reason, entry.record, entry.frame_id, RejectKind.OTHER_DRIVE))
            continue

        entry = _in_queue(entry, frame.queue or _queue_of_new(entry, queues.setdefault(entry.drive_id, entry.queue)))
        task = frame.tasks.get(entry.queue)
        if task is not None and (not frame.untouched or _loses_score(task, entry)):
            unchanged += 1
            continue
        place = _place(task, entry)
        if frame.untouched:
            frames[entry.frame_id] = entry
        tasks[entry.queue, entry.frame_id] = entry, place
        waiting = KnownTask(TaskState.WAITING, place)
        seen[entry.frame_id] = KnownFrame(entry.drive_id, {**frame.tasks, entry.queue: waiting})
    return IntakePlan(frames, tasks, rejected, unchanged)


def _queue_of_new(entry: TaskEntry, queue_of_drive: str) -> str:
    if queue_of_drive == CONTROL_QUEUE:
        return CONTROL_QUEUE
    return entry.ranked_queue if entry.queue == CONTROL_QUEUE else entry.queue


def _in_queue(entry: TaskEntry, queue: str) -> TaskEntry:
    if entry.queue == queue:
        return entry
    if queue == CONTROL_QUEUE:
        return replace(entry, queue=queue, score=None, generation="", frame_score=None)
    return replace(entry, queue=queue)


def _loses_score(task: KnownTask, entry: TaskEntry) -> bool:
    return task.place.score is not None and entry.score is None


def _place(task: KnownTask | None, entry: TaskEntry) -> Place:
    if task is None:
        return entry.place(PriorityBand.ACTIVE_LEARNING, rank=None, pinned=False)
    old = task.place
    return replace(entry.place(old.band, old.rank, old.pinned), folded=old.folded, epoch=old.epoch)
