"""Which waiting tasks are leased next, and to whom."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Select, bindparam, exists

from quandary_server.leasing.bands import Turn, turns
from quandary_server.leasing.order import FOLDED_KEYS, PriorityBand, keys_of
from quandary_server.storage import counters
from quandary_server.storage.prepared import Answer, Prepared
from quandary_server.storage.schema import WAITS, exclusions, tasks
from quandary_server.storage.task_rows import TASKS

__all__ = ["ask_first", "next_tasks"]

NOT_FOR_HOLDER = exists().where(
    exclusions.c.queue == tasks.c.queue,
    exclusions.c.subject == bindparam("holder"),
    exclusions.c.frame_id == tasks.c.frame_id,
)

FIRST_WAITING: Select[Any] = (
    TASKS.where(tasks.c.queue == bindparam("queue"), WAITS, tasks.c.lease_key < FOLDED_KEYS, ~NOT_FOR_HOLDER)
    .order_by(tasks.c.lease_key)
    .limit(bindparam("at_most"))
    .with_for_update(of=tasks, skip_locked=True)  # what another is leasing at this moment does not wait any more
)

FIRST = Prepared(FIRST_WAITING)
FIRST_OF_BAND = Prepared(FIRST_WAITING.where(tasks.c.lease_key >= bindparam("low"), tasks.c.lease_key < bindparam("high")))

LOWEST = max(PriorityBand)


def ask_first(connection: Connection, queue: str, holder: str, at_most: int) -> Answer:
    """Ask for the first tasks that wait and that the holder may have, of whatever band: for `next_tasks`."""
    return FIRST.send(connection, {"queue": queue, "holder": holder, "at_most": at_most})


def next_tasks(
    connection: Connection, first: Sequence[Any], queue: str, holder: str, at_most: int, passed_over_at_most: int
) -> list[tuple[Any, Turn | None]]:
    """Return the rows that the holder is to lease next, each with its band's turn; None: no band had to wait for it.

    first: the rows that `ask_first` found.

    Pinned tasks are the first. Where a band waits behind a higher one, turns are counted in the caller's transaction; where
    not, which is nearly always, the index's order is all there is to read.
    """
    pinned = [row for row in first if row.pinned]
    others = first[len(pinned) :]
    if not others or others[0].band == LOWEST:
        return [(row, None) for row in first]
    in_turn = _in_turn(connection, queue, holder, at_most - len(pinned), passed_over_at_most)
    return [(row, None) for row in pinned] + in_turn


def _in_turn(
    connection: Connection, queue: str, holder: str, count: int, passed_over_at_most: int
) -> list[tuple[Any, Turn | None]]:
    names = {band: f"passed_over/{queue}/{band.name.lower()}" for band in PriorityBand if band is not min(PriorityBand)}
    counted = counters.hold(connection, list(names.values()))
    waiting = {band: _first_of(connection, queue, holder, band, count) for band in PriorityBand}
    before = {band: counted[name] for band, name in names.items()}

    found, after = turns({band: len(rows) for band, rows in waiting.items()}, before, count, passed_over_at_most)

    counters.write(connection, {names[band]: after[band] for band in names if after[band] != before[band]})
    heads = {band: iter(rows) for band, rows in waiting.items()}
    return [(next(heads[turn.band]), turn) for turn in found]


def _first_of(connection: Connection, queue: str, holder: str, band: PriorityBand, at_most: int) -> list[Any]:
    low, high = keys_of(band)
    values = {"queue": queue, "holder": holder, "at_most": at_most, "low": low, "high": high}
    return FIRST_OF_BAND.rows(connection, values)
