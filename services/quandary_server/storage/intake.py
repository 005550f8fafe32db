"""From a fleet log into the queues: each batch in one transaction with its offset, so that every entry counts once."""

import logging
from collections import Counter
from collections.abc import Collection, Mapping, Sequence, Set
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, bindparam, delete, func, insert, select, update

from quandary.errors import InvalidArgument
from quandary.frames import check_identifier
from quandary_server.leasing.order import Place
from quandary_server.leasing.status import TaskState
from quandary_server.storage.conflicts import again_after_conflict
from quandary_server.storage.database import Database
from quandary_server.storage.expiry import expire_due
from quandary_server.storage.intake_plan import IntakePlan, KnownFrame, KnownTask, plan_intake
from quandary_server.storage.offsets import advance_offset, read_offset
from quandary_server.storage.paging import Page, check_page_size, continued_behind, page_of, serial
from quandary_server.storage.schema import frames, rejected, tasks
from quandary_server.storage.task_rows import THIS_TASK, add_queues, place_of, this_task, write_frame_scores
from quandary_server.storage.task_values import CONTROL_QUEUE, RejectedEntry, Rejection, RejectKind, TaskEntry

__all__ = ["Applied", "Intake"]

MAX_ENTRIES = 10_000

events = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Applied:
    """What a batch did: tasks added, waiting tasks brought up to date, entries without news, entries rejected by kind."""

    added: int
    refreshed: int
    unchanged: int
    rejected: int
    kinds: Mapping[RejectKind, int] = field(default_factory=dict, compare=False)


class Intake:
    """The way from fleet logs into a store."""

    def __init__(self, database: Database, max_failed_leases: int) -> None:
        self._database = database
        self._max_failed_leases = max_failed_leases

    def offset(self, log: str) -> int:
        """Return the position of the last applied entry of the log, 0 before the first: read on behind it."""
        with self._database.read() as connection:
            return read_offset(connection, log)

    @again_after_conflict
    def declare(self, queues: Collection[str]) -> None:
        """Make queues, for those who look before the first task; nothing for what is there. Raises InvalidArgument."""
        names = [check_identifier("queue", queue) for queue in queues]
        with self._database.write() as connection:
            add_queues(connection, names)

    @again_after_conflict
    def apply(
        self, entries: Sequence[TaskEntry | RejectedEntry], *, log: str, after: int, position: int, now: datetime
    ) -> Applied:
        """Apply the entries of the log with positions in (after, position] and move its offset there, all or none.

        What is known stays in its queue, and a known drive what it is, control drive or not (`plan_intake`).
        Raises Aborted if the offset is not at `after`, since another selector was faster, and InvalidArgument unless
        0 <= after < position, for positions that are outside or do not ascend, and for more than 10,000 entries.
        """
        _check_positions(entries, after, position)
        with self._database.write() as connection:
            advance_offset(connection, log, after, position, now)
            expire_due(connection, now, self._max_failed_leases)
            known = _known_frames(connection, [e.frame_id for e in entries if isinstance(e, TaskEntry)])
            queues = _queues_of_drives(connection, {e.drive_id for e in entries if isinstance(e, TaskEntry)})
            plan = plan_intake(entries, known, queues)
            _write_frames(connection, plan, known)
            added = _write_tasks(connection, plan, known, now)
            _write_rejected(connection, plan.rejected, log, now)
        for entry in plan.rejected:
            # only now: a batch may be undone and come again
            events.warning("record_rejected position=%d frame=%s problem=%s", entry.position, entry.frame_id, entry.reason)
        kinds = Counter(entry.kind for entry in plan.rejected)
        return Applied(added, len(plan.tasks) - added, plan.unchanged, len(plan.rejected), kinds)

    def rejected(self, log: str, *, page_size: int = 50, page_token: str = "") -> Page[RejectedEntry]:
        """Return a page of the log's rejected entries, oldest first.

        Raises InvalidArgument for a page size outside 1 to 500 or a malformed token.
        """
        listing = f"rejected/{log}"
        after = continued_behind(listing, page_token, serial) or 0
        entries = self.rejected_behind(log, after, check_page_size(page_size) + 1)
        return page_of(listing, entries, page_size, lambda entry: entry.position)

    def rejected_behind(self, log: str, after: int, limit: int) -> tuple[RejectedEntry, ...]:
        """Return up to `limit` rejected entries of the log with positions larger than `after`, in order."""
        query = select(rejected).where(rejected.c.log == log, rejected.c.position > after).order_by(rejected.c.position)
        with self._database.read() as connection:
            rows = connection.execute(query.limit(limit)).all()
        return tuple(RejectedEntry(row.position, row.reason, row.payload, row.frame_id) for row in rows)

    def last_rejected(self, limit: int) -> tuple[Rejection, ...]:
        """Return the entries of all logs that were refused last, the latest of them first."""
        columns = (rejected.c.log, rejected.c.position, rejected.c.frame_id, rejected.c.reason, rejected.c.time)
        query = select(*columns, func.length(rejected.c.payload))
        with self._database.read() as connection:
            last = query.order_by(rejected.c.time.desc(), rejected.c.log, rejected.c.position.desc()).limit(limit)
            return tuple(Rejection(*row) for row in connection.execute(last))

    def unreadable(self, log: str) -> tuple[int, ...]:
        """Return the positions of the log at which something was passed over that left no payload."""
        query = select(rejected.c.position).where(rejected.c.log == log, rejected.c.payload == b"")
        with self._database.read() as connection:
            return tuple(connection.execute(query.order_by(rejected.c.position)).scalars())


def _check_positions(entries: Sequence[TaskEntry | RejectedEntry], after: int, position: int) -> None:
    if len(entries) > MAX_ENTRIES:
        raise InvalidArgument.of("entries", f"{len(entries)} entries", f"at most {MAX_ENTRIES}")
    last = after
    for i, entry in enumerate(entries):
        if not last < entry.position <= position:
            raise InvalidArgument.of(f"entries[{i}].position", entry.position, f"in ({last}, {position}]")
        last = entry.position


def _known_frames(connection: Connection, frame_ids: Sequence[str]) -> dict[str, KnownFrame]:
    query = select(tasks, frames.c.drive_id).join(frames, frames.c.frame_id == tasks.c.frame_id)
    known: dict[str, KnownFrame] = {}
    for row in connection.execute(query.where(tasks.c.frame_id.in_(set(frame_ids)))):
        others = known[row.frame_id].tasks if row.frame_id in known else {}
        known[row.frame_id] = KnownFrame(row.drive_id, {**others, row.queue: KnownTask(row.state, place_of(row))})
    return known


def _queues_of_drives(connection: Connection, drive_ids: Set[str]) -> dict[str, str]:
    """Return the queue of each known drive: that of one of its frames, and of the control drives where that is in both."""
    of_drive = select(func.min(frames.c.frame_id)).where(frames.c.drive_id.in_(drive_ids)).group_by(frames.c.drive_id)
    query = select(frames.c.drive_id, tasks.c.queue).join(tasks, tasks.c.frame_id == frames.c.frame_id)
    control_last = query.where(frames.c.frame_id.in_(of_drive)).order_by(tasks.c.queue == CONTROL_QUEUE)
    return {row.drive_id: row.queue for row in connection.execute(control_last)}


def _write_frames(connection: Connection, plan: IntakePlan, known: Mapping[str, KnownFrame]) -> None:
    new = [{"frame_id": i, **_frame_values(entry)} for i, entry in plan.frames.items() if i not in known]
    if new:
        connection.execute(insert(frames), new)
    changed = [{"of_frame": i, **_frame_values(entry)} for i, entry in plan.frames.items() if i in known]
    if changed:
        connection.execute(update(frames).where(frames.c.frame_id == bindparam("of_frame")), changed)


def _write_tasks(connection: Connection, plan: IntakePlan, known: Mapping[str, KnownFrame], now: datetime) -> int:
    add_queues(connection, {queue for queue, _ in plan.tasks})
    new, changed = [], []
    for (queue, frame_id), (entry, place) in plan.tasks.items():
        if frame_id in known and queue in known[frame_id].tasks:
            changed.append(this_task(queue, frame_id) | _score_values(entry, place))
        else:
            new.append({"queue": queue, "frame_id": frame_id, **_score_values(entry, place), **_new_values(place, now)})
    if new:
        connection.execute(insert(tasks), new)
    if changed:
        connection.execute(update(tasks).where(THIS_TASK), changed)
    write_frame_scores(connection, {key: entry.frame_score for key, (entry, _) in plan.tasks.items()})
    return len(new)


def _write_rejected(connection: Connection, entries: Sequence[RejectedEntry], log: str, now: datetime) -> None:
    rows = [
        {"log": log, "position": e.position, "frame_id": e.frame_id, "reason": e.reason, "payload": e.payload, "time": now}
        for e in entries
    ]
    if rows:
        # those of a log that was set back, and of one made anew under its name, have been here
        positions = [row["position"] for row in rows]
        connection.execute(delete(rejected).where(rejected.c.log == log, rejected.c.position.in_(positions)))
        connection.execute(insert(rejected), rows)


def _frame_values(entry: TaskEntry) -> dict[str, Any]:
    return {
        "drive_id": entry.drive_id,
        "stamp": entry.stamp,
        "crops": entry.crops,
        "tags": dict(entry.tags),
        "ego_position_m": None if entry.ego_position_m is None else list(entry.ego_position_m),
        "record": entry.record,
    }


def _score_values(entry: TaskEntry, place: Place) -> dict[str, Any]:
    return {
        "score": entry.score,
        "generation": entry.generation,
        "shuffle": entry.shuffle,
        "lease_key": place.key(),
    }


def _new_values(place: Place, now: datetime) -> dict[str, Any]:
    return {
        "state": TaskState.WAITING,
        "pinned": place.pinned,
        "band": int(place.band),
        "rank": place.rank_in_epoch,
        "enqueued": now,
        "failed_leases": 0,
        "closed_by": "",
        "skip_reason": "",
        "skip_comment": "",
    }
