"""A task that ended without labels: what was folded under it is asked for in its place, in the same transaction."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, select, update

from quandary_server.leasing.heirs import Copy, heirs
from quandary_server.leasing.machine import ENDED_WITHOUT_LABELS
from quandary_server.leasing.order import Place
from quandary_server.storage.audit import AuditEvent, PlaceAction, rank_facts
from quandary_server.storage.schema import IS_FOLDED, WAITS, frames, tasks
from quandary_server.storage.task_rows import THIS_TASK, place_of, this_task

__all__ = ["SAME_SCENE", "Ended", "Heir", "ended_leaders", "pass_on", "successions", "unfold_before"]

IDS_PER_QUERY = 5_000

SAME_SCENE = "duplicate"
"""The skip reason that holds for near copies as well: they open behind what the query picked, not in the task's place."""

ENDED = select(tasks, frames.c.stamp).join(frames, frames.c.frame_id == tasks.c.frame_id)
LEADERS = tasks.alias("leaders")
FOLDED = (
    select(tasks, frames.c.stamp)
    .join(frames, frames.c.frame_id == tasks.c.frame_id)
    .where(IS_FOLDED, WAITS)
    .with_for_update(of=tasks)
)


@dataclass(frozen=True, slots=True)
class Ended:
    """A task that ended without labels; same_scene: because its scene is labelled already."""

    queue: str
    frame_id: str
    same_scene: bool = False


@dataclass(frozen=True, slots=True)
class Heir:
    """Who stands in for a task that ended, and the place that it has now."""

    frame_id: str
    place: Place


def pass_on(connection: Connection, ended: Sequence[Ended]) -> dict[tuple[str, str], Heir]:
    """Unfold what waits folded under tasks that ended, and return by queue and frame who takes their places.

    The best copy gets the rank, and its own near copies are folded under it (`leasing.heirs`). Pins and bands are not
    inherited: they were decided of one frame.
    """
    found: dict[tuple[str, str], Heir] = {}
    for queue in sorted({task.queue for task in ended}):
        same_scene = {task.frame_id: task.same_scene for task in ended if task.queue == queue}
        copies = _copies(connection, queue, list(same_scene))
        if not copies:
            continue
        moved: list[dict[str, Any]] = []
        for best in connection.execute(ENDED.where(tasks.c.queue == queue, tasks.c.frame_id.in_(list(copies)))).all():
            places = {copy.place.frame_id: copy.place for copy in copies[best.frame_id]}
            under = heirs(best.stamp, copies[best.frame_id])
            heir = next(iter(under))
            of_best = place_of(best)
            for frame_id, leader in under.items():
                inherits = frame_id == heir and not same_scene[best.frame_id]
                rank, epoch = (of_best.rank, of_best.epoch) if inherits else (None, 0)
                place = replace(places[frame_id], rank=rank, epoch=epoch)
                moved.append(_placed(queue, place, leader))
                if frame_id == heir:
                    found[queue, best.frame_id] = Heir(heir, place)
        connection.execute(update(tasks).where(THIS_TASK), moved)
    return found


def successions(heirs_of: Mapping[tuple[str, str], Heir], *, subject: str, now: datetime) -> list[AuditEvent]:
    """Return what the audit is to tell of those who stand in for others; subject: who ended those."""
    return [
        AuditEvent(now, subject, PlaceAction.SUCCEED, queue, heir.frame_id, {"of": frame_id, **rank_facts(heir.place)})
        for (queue, frame_id), heir in heirs_of.items()
    ]


def unfold_before(connection: Connection, queue: str, frame_id: str, band: int) -> None:
    """Unfold what waits folded under a task in a band before this one: it was put there to be labelled."""
    query = FOLDED.where(tasks.c.queue == queue, tasks.c.folded_under == frame_id, tasks.c.band < band)
    rows = [_placed(queue, place_of(row), None) for row in connection.execute(query).all()]
    if rows:
        connection.execute(update(tasks).where(THIS_TASK), rows)


def ended_leaders(connection: Connection, queue: str) -> list[Ended]:
    """Return those of a queue's tasks that have ended without labels while others wait folded under them."""
    leads = (LEADERS.c.queue == tasks.c.queue) & (LEADERS.c.frame_id == tasks.c.folded_under)
    query = (
        select(LEADERS.c.frame_id, LEADERS.c.skip_reason)
        .select_from(tasks)
        .join(LEADERS, leads)
        .where(tasks.c.queue == queue, IS_FOLDED, WAITS, LEADERS.c.state.in_(sorted(ENDED_WITHOUT_LABELS)))
        .distinct()
    )
    return [Ended(queue, row.frame_id, row.skip_reason == SAME_SCENE) for row in connection.execute(query).all()]


def _copies(connection: Connection, queue: str, frame_ids: Sequence[str]) -> dict[str, list[Copy]]:
    found = defaultdict[str, list[Copy]](list)
    for ids in _batches(frame_ids):
        rows: Sequence[Row[Any]] = connection.execute(
            FOLDED.where(tasks.c.queue == queue, tasks.c.folded_under.in_(ids)).order_by(tasks.c.frame_id)
        ).all()
        for row in rows:
            found[row.folded_under].append(Copy(place_of(row), row.stamp))
    return found


def _placed(queue: str, place: Place, leader: str | None) -> dict[str, Any]:
    place = replace(place, folded=leader is not None)
    values = {"rank": place.rank_in_epoch, "folded_under": leader, "lease_key": place.key()}
    return this_task(queue, place.frame_id) | values


def _batches(frame_ids: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(frame_ids), IDS_PER_QUERY):
        yield frame_ids[start : start + IDS_PER_QUERY]
