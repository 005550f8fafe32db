"""The statements of a lease through the database's own driver: what neither SQLAlchemy nor our values add to."""

import json
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import psycopg
from sqlalchemy import Dialect, Select, bindparam, insert, update
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg
from sqlalchemy.dialects.sqlite.pysqlite import SQLiteDialect_pysqlite

from quandary_server.bench.queue.fill import rank_of
from quandary_server.bench.queue.labellers import AT_ONCE, DURATION, Lease
from quandary_server.clock import now
from quandary_server.leasing.order import PriorityBand
from quandary_server.storage.expiry import DUE
from quandary_server.storage.lease_order import FIRST_WAITING
from quandary_server.storage.leases import new_token
from quandary_server.storage.schema import audit, tasks
from quandary_server.storage.task_rows import STATUS_COLUMNS, THIS_TASK
from quandary_server.storage.task_values import ACTIVE_QUEUE
from quandary_server.storage.turns import Turns

AUDITED = ["time", "subject", "action", "queue", "frame_id", "details"]
BANDS = {band.value: band.name.lower() for band in PriorityBand}


class Statements:
    """The statements of one lease, as the store sends them.

    siblings: of ten frames, by names f0 to f9. time: a time as the driver takes it.
    """

    def __init__(self, dialect: Dialect, name: str, time: Callable[[datetime], Any]) -> None:
        self.due, _ = _expanded(DUE.with_for_update(), dialect, now=now())
        self.first, self.of_first = _expanded(FIRST_WAITING, dialect, queue=ACTIVE_QUEUE, at_most=AT_ONCE, holder="")
        write = update(tasks).where(THIS_TASK).values({column: bindparam(column.name) for column in STATUS_COLUMNS})
        self.write = str(write.compile(dialect=dialect))
        self.audit = str(insert(audit).compile(dialect=dialect, column_keys=AUDITED))
        names = ", ".join(name.format(f"f{i}") for i in range(AT_ONCE))
        self.siblings = (
            "SELECT tasks.folded_under, tasks.frame_id FROM tasks JOIN frames ON frames.frame_id = tasks.frame_id"
            f" WHERE tasks.queue = {name.format('queue')} AND tasks.folded_under IS NOT NULL AND tasks.state = 'waiting'"
            f" AND tasks.folded_under IN ({names}) ORDER BY frames.stamp, tasks.frame_id"
        )
        self.column = {name: at for at, name in enumerate(FIRST_WAITING.selected_columns.keys())}
        self.time = time

    def lease(self, cursor: Any, holder: str) -> list[str]:
        """Lease ten tasks within a transaction; return their frames."""
        begun = now()
        time, expires = self.time(begun), self.time(begun + DURATION)
        cursor.execute(self.due, {"now": time})
        cursor.fetchall()
        cursor.execute(self.first, {**self.of_first, "holder": holder})
        rows = cursor.fetchall()
        found = [row[self.column["frame_id"]] for row in rows]
        if found:
            cursor.executemany(self.write, [_written(frame_id, holder, expires) for frame_id in found])
            cursor.executemany(self.audit, [self._audited(row, holder, time, begun + DURATION) for row in rows])
            frames = {f"f{i}": found[min(i, len(found) - 1)] for i in range(AT_ONCE)}
            cursor.execute(self.siblings, {"queue": ACTIVE_QUEUE, **frames})
            cursor.fetchall()
        return found

    def _audited(self, row: Any, holder: str, time: Any, expires: datetime) -> dict[str, Any]:
        """Return an audit row that tells what the store's does: until when, and why this task."""
        frame_id, *place = (row[self.column[name]] for name in ("frame_id", "band", "rank", "score", "generation"))
        band, rank, score, generation = place
        details = {"expires": expires.isoformat(), "band": BANDS[band], "rank": str(rank), "score": str(score)}
        of = {"queue": ACTIVE_QUEUE, "frame_id": frame_id, "details": json.dumps({**details, "generation": generation})}
        return {**of, "time": time, "subject": holder, "action": "lease"}


def _expanded(query: Select[Any], dialect: Dialect, **values: Any) -> tuple[str, dict[str, Any]]:
    """Return a query's text and its parameters, with these values and those that it brings."""
    expanded = query.compile(dialect=dialect).construct_expanded_state(values)
    return expanded.statement, dict(expanded.parameters)


def _written(frame_id: str, holder: str, expires: Any) -> dict[str, Any]:
    lease = {"lease_token": new_token(), "lease_holder": holder, "lease_expires": expires}
    of = {"of_queue": ACTIVE_QUEUE, "of_frame": frame_id}
    return {**of, **lease, "state": "leased", "failed_leases": 0, "closed_by": ""}


@contextmanager
def sqlite_lease(place: str) -> Iterator[Lease]:
    """Return what leases ten tasks of a SQLite store; labellers take turns, as those of the store do."""
    statements = Statements(SQLiteDialect_pysqlite(paramstyle="named"), ":{}", lambda t: f"{t.replace(tzinfo=None):%F %T.%f}")
    turns = Turns()

    def connect() -> sqlite3.Connection:
        connection = sqlite3.connect(place, isolation_level=None, check_same_thread=False, timeout=30)
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("PRAGMA foreign_keys=ON")
        return connection

    with _of_threads(connect) as connections:

        def lease(holder: str) -> list[int]:
            cursor = connections().cursor()
            with turns:
                cursor.execute("BEGIN IMMEDIATE")
                try:
                    found = statements.lease(cursor, holder)
                except BaseException:
                    cursor.execute("ROLLBACK")
                    raise
                cursor.execute("COMMIT")
            return [rank_of(frame_id) for frame_id in found]

        yield lease


@contextmanager
def postgres_lease(place: str) -> Iterator[Lease]:
    """Return what leases ten tasks of a PostgreSQL store, without the writers' lock: nobody else writes."""
    statements = Statements(
        PGDialect_psycopg(),  # type: ignore[no-untyped-call]
        "%({})s",
        lambda t: t.astimezone(UTC),
    )
    with _of_threads(lambda: psycopg.connect(place)) as connections:

        def lease(holder: str) -> list[int]:
            connection = connections()
            with connection.transaction():
                found = statements.lease(connection.cursor(), holder)
            return [rank_of(frame_id) for frame_id in found]

        yield lease


BARE: dict[str, Callable[[str], Any]] = {"sqlite": sqlite_lease, "postgres": postgres_lease}
"""What leases by bare SQL, by the kind of database."""


@contextmanager
def _of_threads(connect: Callable[[], Any]) -> Iterator[Callable[[], Any]]:
    """Return what gives each thread a connection of its own."""
    local, made = threading.local(), []

    def connection() -> Any:
        if not hasattr(local, "connection"):
            local.connection = connect()
            made.append(local.connection)
        return local.connection

    try:
        yield connection
    finally:
        for each in made:
            each.close()
