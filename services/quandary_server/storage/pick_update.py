"""Ranks of many picks, written by one statement, which makes their keys too.

Whoever leases waits for each row that is ranked: so nothing is done for one in Python, and nothing is read before.
"""

from collections.abc import Sequence

from sqlalchemy import (
    JSON,
    BigInteger,
    ColumnElement,
    Connection,
    LargeBinary,
    UnaryExpression,
    Update,
    bindparam,
    case,
    cast,
    func,
    literal,
    null,
    update,
)
from sqlalchemy.sql.operators import custom_op

from quandary_server.leasing.order import OPEN, PINNED, RANK_IN_KEY, packed_ranks
from quandary_server.storage.columns import Text
from quandary_server.storage.many_rows import DOCUMENTS
from quandary_server.storage.prepared import Prepared
from quandary_server.storage.schema import WAITS, tasks

__all__ = ["write_picks"]

FRAMES = bindparam("frames", type_=Text)
FIRST = bindparam("first", type_=BigInteger)
RANK_BYTES = RANK_IN_KEY.stop - RANK_IN_KEY.start


def write_picks(connection: Connection, queue: str, frame_ids: Sequence[str], first: int) -> int:
    """Rank those of the frames' tasks that wait, and fold none; return how many, in the caller's transaction.

    first: `Place.rank_in_epoch` of the first frame; the others have those behind it, one each.
    """
    values = {"queue": queue, "frames": DOCUMENTS.encode(frame_ids), "first": first}
    if connection.dialect.name == "sqlite":
        values["packed"] = packed_ranks(first, len(frame_ids))
    return WRITE[connection.dialect.name].send(connection, values).count()


def _update(
    of_queue: ColumnElement[str], frame_id: ColumnElement[str], rank: ColumnElement[int], packed: ColumnElement[bytes]
) -> Update:
    """Return the statement; of_queue: the column of tasks; the others are of a row of those that are given."""
    front = case((tasks.c.pinned, literal(bytes([PINNED]))), else_=literal(bytes([OPEN])))
    band = func.substr(tasks.c.lease_key, 2, 1)
    rest = func.substr(tasks.c.lease_key, RANK_IN_KEY.stop + 1)
    key = front.op("||")(band).op("||")(packed).op("||")(rest)
    values = {tasks.c.rank: rank, tasks.c.folded_under: null(), tasks.c.lease_key: cast(key, LargeBinary)}
    return update(tasks).where(of_queue == bindparam("queue"), tasks.c.frame_id == frame_id, WAITS).values(values)


def _in_file() -> Update:
    given = func.json_each(FRAMES).table_valued("key", "value", name="given")
    packed = bindparam("packed", type_=LargeBinary)  # SQLite makes no bytes of a number
    of_row = func.substr(packed, given.c.key * RANK_BYTES + 1, RANK_BYTES)
    # Without a plus before it SQLite, which knows no table's size, goes through the whole queue once for each frame.
    of_queue = UnaryExpression[str](tasks.c.queue, operator=custom_op("+"))
    return _update(of_queue, given.c.value, FIRST + given.c.key, of_row)


def _on_server() -> Update:
    elements = func.json_array_elements_text(cast(FRAMES, JSON))
    given = elements.table_valued("frame_id", with_ordinality="number", name="given").render_derived()
    rank = FIRST + given.c.number - 1
    return _update(tasks.c.queue, given.c.frame_id, rank, func.int8send(rank))


WRITE = {"sqlite": Prepared(_in_file()), "postgresql": Prepared(_on_server())}
