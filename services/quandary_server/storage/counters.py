"""Numbers that are drawn in the order of the commits, and counts that one transaction at a time changes."""

from collections.abc import Mapping, Sequence

from sqlalchemy import Connection, bindparam, select, update

from quandary_server.storage.insertion import insert_missing
from quandary_server.storage.schema import counters

__all__ = ["EMBEDDINGS", "LABELS", "RUNS", "draw", "hold", "last_drawn", "value", "write"]

EMBEDDINGS = "embeddings"
LABELS = "labels"
RUNS = "runs"

WRITE = update(counters).where(counters.c.name == bindparam("of_name")).values(value=bindparam("value"))


def draw(connection: Connection, name: str, count: int = 1) -> int:
    """Draw `count` numbers in the caller's transaction and return the first; the first ever is 1."""
    counter = counters.c.name == name
    connection.execute(update(counters).where(counter).values(value=counters.c.value + count))
    return last_drawn(connection, name) - count + 1


def last_drawn(connection: Connection, name: str) -> int:
    """Return the last number drawn, 0 before the first."""
    value: int = connection.execute(select(counters.c.value).where(counters.c.name == name)).scalar_one()
    return value


def hold(connection: Connection, names: Sequence[str]) -> dict[str, int]:
    """Return counts by name, 0 before the first, which nobody else changes until the caller's transaction ends."""
    query = select(counters.c.name, counters.c.value).where(counters.c.name.in_(names)).order_by(counters.c.name)
    found = {row.name: row.value for row in connection.execute(query.with_for_update())}
    if missing := [{"name": name, "value": 0} for name in sorted(names) if name not in found]:
        insert_missing(connection, counters, missing)
        return hold(connection, names)
    return found


def value(connection: Connection, name: str) -> int:
    """Return a count as it stands, 0 before the first."""
    return connection.execute(select(counters.c.value).where(counters.c.name == name)).scalar_one_or_none() or 0


def write(connection: Connection, values: Mapping[str, int]) -> None:
    """Write counts that `hold` returned."""
    if values:
        connection.execute(WRITE, [{"of_name": name, "value": value} for name, value in values.items()])
