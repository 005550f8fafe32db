"""Tasks as rows: how one is found, read, moved and written back."""

from collections.abc import Iterable, Mapping
from typing import Any

from sqlalchemy import Connection, Select, bindparam, delete, insert, select

from quandary.errors import NotFound
from quandary_server.leasing.order import Place, PriorityBand, epoch_and_rank
from quandary_server.leasing.status import Lease, TaskState, TaskStatus
from quandary_server.storage.many_rows import RowUpdate
from quandary_server.storage.prepared import Prepared
from quandary_server.storage.schema import frame_scores, frames, queues, tasks
from quandary_server.storage.task_values import Task

__all__ = [
    "STATUS_COLUMNS",
    "TASKS",
    "THIS_TASK",
    "add_queues",
    "check_queue",
    "load_task",
    "moved_to",
    "place_of",
    "status_of",
    "task_of",
    "this_task",
    "write_frame_scores",
    "write_statuses",
]

TASKS: Select[Any] = (
    select(
        tasks,
        frames.c.drive_id,
        frames.c.stamp,
        frames.c.crops,
        frames.c.tags,
        frames.c.record,
        frame_scores.c.frame_score,
    )
    .join(frames, frames.c.frame_id == tasks.c.frame_id)
    .outerjoin(frame_scores, (frame_scores.c.queue == tasks.c.queue) & (frame_scores.c.frame_id == tasks.c.frame_id))
)
"""Every task with its frame and score."""

ONE_TASK = TASKS.where(tasks.c.queue == bindparam("queue"), tasks.c.frame_id == bindparam("frame_id"))
FOUND_TASK = Prepared(ONE_TASK)
LOCKED_TASK = Prepared(ONE_TASK.with_for_update(of=tasks))

THIS_TASK = (tasks.c.queue == bindparam("of_queue")) & (tasks.c.frame_id == bindparam("of_frame"))
"""The condition that picks one task of many to write; its values come from `this_task`."""

THIS_SCORE = (frame_scores.c.queue == bindparam("of_queue")) & (frame_scores.c.frame_id == bindparam("of_frame"))

STATUS_COLUMNS = (
    tasks.c.state,
    tasks.c.failed_leases,
    tasks.c.lease_token,
    tasks.c.lease_holder,
    tasks.c.lease_expires,
    tasks.c.closed_by,
)
"""What `status_of` reads and `write_statuses` writes."""

KEYS = {"of_queue": tasks.c.queue, "of_frame": tasks.c.frame_id}

WRITE_STATUS = RowUpdate(tasks, KEYS, STATUS_COLUMNS)


def check_queue(connection: Connection, queue: str) -> None:
    """Raise NotFound unless there is such a queue."""
    if connection.execute(select(queues.c.name).where(queues.c.name == queue)).one_or_none() is None:
        raise NotFound(f"there is no queue {queue}")


def add_queues(connection: Connection, names: Iterable[str]) -> None:
    """Make the queues that are missing."""
    known = set(connection.execute(select(queues.c.name)).scalars())
    missing = [{"name": name} for name in sorted(set(names) - known)]
    if missing:
        connection.execute(insert(queues), missing)


def load_task(connection: Connection, queue: str, frame_id: str, *, locked: bool = False) -> Task:
    """Return one task, locked: to write it; raises NotFound if there is none."""
    found = (LOCKED_TASK if locked else FOUND_TASK).rows(connection, {"queue": queue, "frame_id": frame_id})
    if not found:
        elsewhere = connection.execute(select(tasks.c.queue).where(tasks.c.frame_id == frame_id).order_by(tasks.c.queue))
        names = ", ".join(elsewhere.scalars())
        raise NotFound(f"there is no task {frame_id} in queue {queue}" + (f"; it is in {names}" if names else ""))
    return task_of(found[0])


def task_of(row: Any, status: TaskStatus | None = None, siblings: tuple[str, ...] = ()) -> Task:
    """Return the task of a row of TASKS; status: where it stands now, if not where the row says."""
    return Task(
        queue=row.queue,
        drive_id=row.drive_id,
        stamp=row.stamp,
        crops=row.crops,
        place=place_of(row),
        status=status or status_of(row),
        generation=row.generation,
        folded_under=row.folded_under or "",
        enqueued=row.enqueued,
        tags=row.tags,
        record=row.record,
        frame_score=row.frame_score,
        skip_reason=row.skip_reason,
        skip_comment=row.skip_comment,
        siblings=siblings,
    )


def place_of(row: Any) -> Place:
    """Return the place of a row that has the columns of `tasks` that decide it."""
    epoch, rank = (0, None) if row.rank is None else epoch_and_rank(row.rank)
    folded = row.folded_under is not None
    return Place(row.frame_id, row.shuffle, row.score, rank, PriorityBand(row.band), row.pinned, folded, epoch)


def status_of(row: Any) -> TaskStatus:
    """Return the status of a row that has STATUS_COLUMNS."""
    lease = None
    if row.lease_token is not None:
        lease = Lease(row.lease_token, row.lease_holder, row.lease_expires)
    return TaskStatus(TaskState(row.state), lease, row.failed_leases, row.closed_by)


def this_task(queue: str, frame_id: str) -> dict[str, Any]:
    """Return the values of THIS_TASK."""
    return {"of_queue": queue, "of_frame": frame_id}


def moved_to(queue: str, frame_id: str, status: TaskStatus) -> dict[str, Any]:
    """Return the values of `write_statuses` for one task."""
    lease = status.lease
    return this_task(queue, frame_id) | {
        "state": status.state,
        "failed_leases": status.failed_leases,
        "lease_token": lease.token if lease else None,
        "lease_holder": lease.holder if lease else None,
        "lease_expires": lease.expires if lease else None,
        "closed_by": status.closed_by,
    }


def write_statuses(connection: Connection, moved: list[dict[str, Any]]) -> None:
    """Write where tasks stand now, each given by `moved_to`."""
    WRITE_STATUS.send(connection, moved)


def write_frame_scores(connection: Connection, scores: Mapping[tuple[str, str], bytes | None]) -> None:
    """Write the serialised FrameScore of tasks, given by queue and frame id, in place of what they had."""
    if scores:
        connection.execute(delete(frame_scores).where(THIS_SCORE), [this_task(*key) for key in scores])
    rows = [{"queue": key[0], "frame_id": key[1], "frame_score": score} for key, score in scores.items() if score is not None]
    if rows:
        connection.execute(insert(frame_scores), rows)
