"""One query's ranks on their way into the store, in pieces between which labellers lease.

What holds after every piece, so that whatever is leased is what a query asked for, and a crash leaves a good order:

1. Ranks of this query stand in front of all ranks of those before (`Place.epoch`), and are written from the first pick on.
   So the order is the query's first picks as far as they are written, then the rest as the query before had it.
2. A pick's near copies are folded in the piece that ranks it: no copy is leased beside a pick for not being folded yet.
3. Ranks and folds of the query before go last, from its last one on, when all of this query's stand in front of them.
4. Until then the query counts as unfinished (`begin`, `finish`); the latest to begin goes on and those before it stop.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Connection, bindparam, select

from quandary_server.leasing.machine import ENDED_WITHOUT_LABELS
from quandary_server.leasing.order import Place, PriorityBand, epoch_of, ranks_of
from quandary_server.leasing.status import TaskState
from quandary_server.storage import counters
from quandary_server.storage.elections import Lead
from quandary_server.storage.many_rows import RowsOf, RowUpdate
from quandary_server.storage.pick_update import write_picks
from quandary_server.storage.piece_sizes import PieceSize
from quandary_server.storage.prepared import Prepared
from quandary_server.storage.schema import IS_FOLDED, WAITS, tasks
from quandary_server.storage.task_rows import KEYS, this_task

__all__ = [
    "WAITING",
    "Frames",
    "Piece",
    "RankedQuery",
    "begin",
    "cut",
    "finish",
    "is_latest",
    "overdue",
    "pieces",
    "read_piece",
    "stale",
    "write_piece",
]

OVERDUE = timedelta(minutes=5)
"""A query that has not got its ranks written by then was given up by whoever died over it."""

PLACED = (
    tasks.c.frame_id,
    tasks.c.shuffle,
    tasks.c.score,
    tasks.c.rank,
    tasks.c.band,
    tasks.c.pinned,
    tasks.c.folded_under,
    tasks.c.lease_key,
)
OF_QUEUE = tasks.c.queue == bindparam("queue")
WAITING = RowsOf(select(*PLACED).where(OF_QUEUE, WAITS), tasks.c.frame_id)
LEADERS = RowsOf(select(tasks.c.frame_id, tasks.c.band, tasks.c.state).where(OF_QUEUE), tasks.c.frame_id)
OF_ANOTHER = (tasks.c.rank < bindparam("first")) | (tasks.c.rank > bindparam("last"))
STALE = Prepared(
    select(tasks.c.frame_id, tasks.c.folded_under)
    .where(OF_QUEUE, WAITS, OF_ANOTHER | IS_FOLDED)
    .order_by(tasks.c.lease_key.desc())
)
WRITE_PLACE = RowUpdate(
    tasks, {**KEYS, "read_key": tasks.c.lease_key}, [tasks.c.rank, tasks.c.folded_under, tasks.c.lease_key], provided=WAITS
)
"""Writes places that are what was read: `lease_key` tells all that decides one."""


@dataclass(frozen=True)
class RankedQuery:
    """What the query of this number asks for: ranks by frame, and near copies by frame, each with what it is folded under.

    lead: under which it was made; None: no other selector is held off.
    """

    queue: str
    number: int
    ranks: dict[str, int]
    folded: Mapping[str, str]
    lead: Lead | None = None

    @property
    def epoch(self) -> int:
        """The epoch of its ranks."""
        return epoch_of(self.number)


@dataclass(frozen=True)
class Frames:
    """Those of a piece: `picks` of the query, of ranks `first`, `first + 1`, ..., and others, near copies of them for one."""

    others: Sequence[str]
    picks: Sequence[str] = ()
    first: int = 0

    def __len__(self) -> int:
        return len(self.picks) + len(self.others)


def begin(connection: Connection, queue: str, now: datetime) -> int:
    """Return the number of a query that begins now, in the caller's transaction."""
    begun, unfinished = _names(queue)
    number = counters.hold(connection, [begun, unfinished])[begun] + 1
    counters.write(connection, {begun: number, unfinished: _milliseconds(now)})
    return number


def finish(connection: Connection, query: RankedQuery) -> bool:
    """Note that all of the query is written, unless a later one began; return whether so, in the caller's transaction."""
    latest = is_latest(connection, query)
    if latest:
        counters.write(connection, {_names(query.queue)[1]: 0})
    return latest


def is_latest(connection: Connection, query: RankedQuery) -> bool:
    """Return whether no query of the queue began after this one."""
    begun = _names(query.queue)[0]
    return counters.hold(connection, [begun])[begun] == query.number


def overdue(connection: Connection, queue: str, now: datetime) -> bool:
    """Return whether a query of the queue began long ago and was not finished."""
    since = counters.value(connection, _names(queue)[1])
    return bool(since) and _milliseconds(now - OVERDUE) >= since


def pieces(query: RankedQuery, size: PieceSize) -> Iterator[Frames]:
    """Yield the frames of the query from the first pick on, each with those folded under it, in pieces of that size or more.

    What is folded under frames that are not picked comes last.
    """
    copies: dict[str, list[str]] = {}
    for frame_id, best in query.folded.items():
        copies.setdefault(best, []).append(frame_id)
    first, picks, others = 0, list[str](), list[str]()
    for rank, frame_id in enumerate(list(query.ranks)):
        picks.append(frame_id)
        others += copies.pop(frame_id, ())
        if len(picks) + len(others) >= size.rows:
            yield Frames(others, picks, first)
            first, picks, others = rank + 1, [], []
    for found in copies.values():
        others += found
        if len(picks) + len(others) >= size.rows:
            yield Frames(others, picks, first)
            picks, others = [], []
    if picks or others:
        yield Frames(others, picks, first)


def cut(frame_ids: Sequence[str], size: PieceSize) -> Iterator[Frames]:
    """Yield frames that are not picked, in pieces of that size."""
    start = 0
    while start < len(frame_ids):
        found = frame_ids[start : start + size.rows]
        yield Frames(found)
        start += len(found)


def stale(connection: Connection, query: RankedQuery) -> list[str]:
    """Return the waiting frames whose rank or fold is of a query before, the last in the order first."""
    first, last = ranks_of(query.epoch)
    found = STALE.rows(connection, {"queue": query.queue, "first": first, "last": last})
    return [row.frame_id for row in found if row.folded_under is None or row.folded_under != query.folded.get(row.frame_id)]


@dataclass(frozen=True)
class Piece:
    """What is written beside picks: `rows` as WRITE_PLACE takes them, and the ranks that the query has for those that wait."""

    rows: list[dict[str, Any]]
    ranked: dict[str, int]


def read_piece(connection: Connection, query: RankedQuery, frame_ids: Sequence[str]) -> Piece:
    """Return what the query has for those of the frames, which it did not pick, that wait now.

    What stands in a band before that of the frame that it would be folded under is ranked behind all others instead; what would
    be folded under a frame that has ended without labels since the query looked waits for itself.
    """
    of_queue = {"queue": query.queue}
    waiting = {row.frame_id: row for row in WAITING.rows(connection, of_queue, frame_ids)}
    found = [waiting[frame_id] for frame_id in frame_ids if frame_id in waiting]
    bests = sorted({query.folded[row.frame_id] for row in found if row.frame_id in query.folded})
    leaders = LEADERS.rows(connection, of_queue, bests)
    bands = {row.frame_id: row.band for row in leaders}
    ended = {row.frame_id for row in leaders if TaskState(row.state) in ENDED_WITHOUT_LABELS}
    piece = Piece([], {})
    last = len(query.ranks)
    for row in found:
        rank, under = query.ranks.get(row.frame_id), query.folded.get(row.frame_id)
        if under in ended:
            under = None
        if under is not None and row.band < bands.get(under, 0):
            rank, under, last = last, None, last + 1
        if rank is not None:
            piece.ranked[row.frame_id] = rank
        if (values := _placed(row, rank, under, query.epoch)) is not None:
            piece.rows.append(this_task(query.queue, row.frame_id) | values)
    return piece


def write_piece(connection: Connection, query: RankedQuery, frames: Frames, read: Piece) -> tuple[int, dict[str, int]]:
    """Write a piece; return how many of its picks were ranked, and the ranks given to others.

    read: what it has for those others; where one of their tasks was leased or moved since, all are read again.
    """
    first, _ = ranks_of(query.epoch)
    picked = write_picks(connection, query.queue, frames.picks, first + frames.first) if frames.picks else 0
    if WRITE_PLACE.count(connection, read.rows) < len(read.rows):
        read = read_piece(connection, query, frames.others)  # without those that are written: they have what they are to have
        WRITE_PLACE.send(connection, read.rows)
    return picked, read.ranked


def _placed(row: Any, rank: int | None, under: str | None, epoch: int) -> dict[str, Any] | None:
    """Return the values that the row is to have, None where it has them."""
    band, folded = PriorityBand(row.band), under is not None
    place = Place(row.frame_id, row.shuffle, row.score, rank, band, row.pinned, folded, 0 if rank is None else epoch)
    if (place.rank_in_epoch, under) == (row.rank, row.folded_under):
        return None
    return {"rank": place.rank_in_epoch, "folded_under": under, "lease_key": place.key(), "read_key": row.lease_key}


def _names(queue: str) -> tuple[str, str]:
    return f"queries/{queue}", f"query_unfinished/{queue}"


def _milliseconds(time: datetime) -> int:
    return int((time - datetime.fromtimestamp(0, UTC)).total_seconds() * 1000)
