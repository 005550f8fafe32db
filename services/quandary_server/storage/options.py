"""How a store uses its database."""

from dataclasses import dataclass
from datetime import timedelta

__all__ = ["DEFAULTS", "StoreOptions"]


@dataclass(frozen=True, slots=True)
class StoreOptions:
    """upgrade: bring the schema up to date when opening; None: that of SQLite, not that of PostgreSQL.

    connections: how many PostgreSQL lends us at once, for each process. lock_timeout: how long a writer waits for others, and a
    thread for a connection. statement_timeout: how long a statement of PostgreSQL may take. rows_at_once: how many tasks get
    their rank or score in one transaction; labellers lease between two. None: 200 get a score in a file, 1,500 on a server, and
    as many get their rank as are written in the time for which that may hold labellers off (HELD_OFF).
    """

    upgrade: bool | None = None
    connections: int = 16
    lock_timeout: timedelta = timedelta(seconds=30)
    statement_timeout: timedelta = timedelta(minutes=2)
    rows_at_once: int | None = None


ROWS_AT_ONCE = {"sqlite": 200, "postgresql": 1_500}
"""`rows_at_once` unless it is given, and how many rows the first piece of ranks has then."""

HELD_OFF = {"sqlite": timedelta(milliseconds=20), "postgresql": timedelta(milliseconds=80)}
"""How long labellers wait for a piece of ranks: in all well below three times what they wait for each other at most."""

DEFAULTS = StoreOptions()
