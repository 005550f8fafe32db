"""Looks at what waits that cost the same however much that is: for whoever looks again and again, mostly to find nothing to do.

`lease_key` tells a place with a rank from one without and one with a score from one without, so that both are ranges of the
index that carries the lease order. A generation is none: it is looked for piece by piece.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, bindparam, func, literal, select, union_all

from quandary_server.leasing.order import ranked_keys, unpicked_keys
from quandary_server.storage.prepared import Prepared
from quandary_server.storage.schema import IS_FOLDED, LEASED, WAITS, tasks
from quandary_server.storage.task_rows import TASKS, task_of
from quandary_server.storage.task_values import Task

__all__ = ["PIECE_ROWS", "BehindInPiece", "any_leased", "any_unpicked", "behind_in_piece", "ranked_up_to"]

PIECE_ROWS = 500
"""Of the index that carries the lease order, looked at in one go: a fraction of a millisecond."""

OF_QUEUE = tasks.c.queue == bindparam("queue")


def _up_to(ranges: Sequence[tuple[bytes, bytes]], *conditions: ColumnElement[bool]) -> Prepared:
    """Return what counts the waiting tasks of the ranges, up to `most`."""
    key = tasks.c.lease_key
    one: list[Select[Any]] = [
        select(literal(1, literal_execute=True).label("one")).where(OF_QUEUE, WAITS, key >= first, key < end, *conditions)
        for first, end in ranges
    ]
    return Prepared(select(func.count()).select_from(union_all(*one).limit(bindparam("most")).subquery()))


RANKED = _up_to(ranked_keys())
UNPICKED = _up_to(unpicked_keys(folded=False), ~IS_FOLDED)
UNPICKED_OR_FOLDED = _up_to(unpicked_keys(folded=True))
ONE_LEASED = Prepared(select(tasks.c.frame_id).where(OF_QUEUE, LEASED).limit(1))

PIECE = (
    select(tasks.c.lease_key, tasks.c.generation)
    .where(OF_QUEUE, WAITS, tasks.c.lease_key > bindparam("after"))
    .order_by(tasks.c.lease_key)
    .limit(bindparam("rows"))
    .subquery()
)
IN_PIECE = Prepared(select(func.count(), func.count().filter(PIECE.c.generation != bindparam("generation"))).select_from(PIECE))
LAST_OF_PIECE = Prepared(select(PIECE.c.lease_key).order_by(PIECE.c.lease_key.desc()).limit(1))
BEHIND = Prepared(
    TASKS.where(OF_QUEUE, WAITS, tasks.c.lease_key > bindparam("after"), tasks.c.lease_key <= bindparam("last"))
    .where(tasks.c.generation != bindparam("generation"))
    .order_by(tasks.c.lease_key)
    .limit(bindparam("most"))
)


def ranked_up_to(connection: Connection, queue: str, most: int) -> int:
    """Return how many waiting tasks of the queue have a rank, `most` at the most."""
    return _counted(RANKED, connection, queue, most)


def any_unpicked(connection: Connection, queue: str, *, folded: bool) -> bool:
    """Return whether a task waits that has a score and no rank; folded: one that is folded counts too."""
    return bool(_counted(UNPICKED_OR_FOLDED if folded else UNPICKED, connection, queue, 1))


def any_leased(connection: Connection, queue: str) -> bool:
    """Return whether a task of the queue is leased."""
    return bool(ONE_LEASED.rows(connection, {"queue": queue}))


@dataclass(frozen=True, slots=True)
class BehindInPiece:
    """Tasks of a piece of a queue that a generation has not scored. last: the piece's last key; None: nothing is behind it."""

    tasks: tuple[Task, ...]
    last: bytes | None


def behind_in_piece(
    connection: Connection, queue: str, generation: str, *, after: bytes, rows: int, most: int
) -> BehindInPiece:
    """Return those of the first `rows` waiting tasks behind a key, in lease order, that the generation has not scored."""
    piece = {"queue": queue, "after": after, "rows": rows}
    ((count, behind),) = IN_PIECE.rows(connection, {**piece, "generation": generation})
    whole = count < rows
    if not behind and whole:
        return BehindInPiece((), None)
    ((last,),) = LAST_OF_PIECE.rows(connection, piece)
    found: list[Any] = []
    if behind:
        asked = {"queue": queue, "after": after, "last": last, "generation": generation, "most": most}
        found = BEHIND.rows(connection, asked)
    return BehindInPiece(tuple(map(task_of, found)), None if whole else last)


def _counted(looked: Prepared, connection: Connection, queue: str, most: int) -> int:
    ((count,),) = looked.rows(connection, {"queue": queue, "most": most})
    return int(count)
