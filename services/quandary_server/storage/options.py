"""How a store uses its database."""

from dataclasses import dataclass
from datetime import timedelta

__all__ = ["DEFAULTS", "StoreOptions"]


@dataclass(frozen=True, slots=True)
class StoreOptions:
    """upgrade: bring the schema up to date when opening; None: that of SQLite, not that of PostgreSQL.

    connections: how many PostgreSQL lends us at once, for each process. lock_timeout: how long a writer waits for others, and a
    thread for a connection. statement_timeout: how long a statement of PostgreSQL may take. rows_at_once: how many tasks get
    their rank or score in one transaction; labellers lease between two.
    """

    upgrade: bool | None = None
    connections: int = 16
    lock_timeout: timedelta = timedelta(seconds=30)
    statement_timeout: timedelta = timedelta(minutes=2)
    rows_at_once: int | None = None


ROWS_AT_ONCE = {"sqlite": 200, "postgresql": 1_500}
"""`rows_at_once` unless it is given: in a file labellers wait for every row that is ranked, on a server for each other more."""

DEFAULTS = StoreOptions()
