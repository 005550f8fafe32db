"""Numbers that are drawn in the order of the commits."""

from sqlalchemy import Connection, select, update

from quandary_server.storage.schema import counters

__all__ = ["LABELS", "RUNS", "draw", "last_drawn"]

LABELS = "labels"
RUNS = "runs"


def draw(connection: Connection, name: str, count: int = 1) -> int:
    """Draw `count` numbers in the caller's transaction and return the first; the first ever is 1."""
    counter = counters.c.name == name
    connection.execute(update(counters).where(counter).values(value=counters.c.value + count))
    return last_drawn(connection, name) - count + 1


def last_drawn(connection: Connection, name: str) -> int:
    """Return the last number drawn, 0 before the first."""
    value: int = connection.execute(select(counters.c.value).where(counters.c.name == name)).scalar_one()
    return value
