"""The fleet log: frame records in the order in which the fleet published them."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Protocol

from sqlalchemy import Column, Connection, LargeBinary, MetaData, String, Table, column, func, insert, select, table

from quandary.errors import InvalidArgument, TooLarge, Unavailable, Violation
from quandary.frames import check_identifier
from quandary_server.storage.columns import Serial, Time
from quandary_server.storage.fixed_schema import FixedSchema
from quandary_server.storage.opening import sqlite_url
from quandary_server.storage.sqlite import SqliteDatabase

__all__ = ["FleetLog", "LogEntry", "LogRecord", "SqliteFleetLog"]

LOG_VERSION = 1
MAX_PAYLOAD_BYTES = 2**20

metadata = MetaData()

entries = Table(
    "entries",
    metadata,
    Column("position", Serial, primary_key=True),
    Column("frame_id", String, nullable=False),
    Column("payload", LargeBinary, nullable=False),
    Column("appended", Time, nullable=False),
    sqlite_autoincrement=True,  # a position is never given twice, not even after entries were removed
)

identity = Table("identity", metadata, Column("name", String, primary_key=True))

# SQLite's own: the last position ever given, whether or not its entry is there still
given = table("sqlite_sequence", column("name"), column("seq"))


@dataclass(frozen=True, slots=True)
class LogRecord:
    """What is published; payload: a serialised quandary.v1.FrameRecord.

    Raises InvalidArgument for a malformed frame id, TooLarge for more than 1 MiB: clouds are referred to, not logged.
    """

    frame_id: str
    payload: bytes = field(repr=False)

    def __post_init__(self) -> None:
        check_identifier("frame_id", self.frame_id)
        if len(self.payload) > MAX_PAYLOAD_BYTES:
            violation = Violation("payload", f"{len(self.payload)} bytes", f"at most {MAX_PAYLOAD_BYTES} bytes")
            raise TooLarge(str(violation), violations=[violation])


@dataclass(frozen=True, slots=True)
class LogEntry:
    """A record in the log; positions start at 1 and ascend, not always by 1."""

    position: int
    frame_id: str
    payload: bytes = field(repr=False)
    appended: datetime


class FleetLog(Protocol):
    """Where the fleet publishes its records. One frame may be published twice: producers retry, consumers ignore it."""

    @property
    def name(self) -> str:
        """What offsets call this log: a log made anew has another name, so that its entries are not taken for old ones."""

    def append(self, records: Sequence[LogRecord], *, now: datetime) -> int:
        """Append records, all or none, and return the position of the last."""

    def read(self, after: int, limit: int) -> tuple[LogEntry, ...]:
        """Return up to `limit` entries with positions larger than `after`, in order."""

    def end(self) -> int:
        """Return the position of the last entry, 0 in an empty log."""


class SqliteFleetLog:
    """A fleet log in a SQLite file of its own, which several processes append to and read at once.

    A reader that goes on behind the last position it saw misses nothing: SQLite admits one writer at a time, so positions are
    given in the order of the commits and nothing can appear behind it later. PostgreSQL gives that no guarantee: there a
    smaller position may be committed after a larger one was read.

    Where the file at the path is replaced by another, reading and appending go on with that one, under its `name`.
    """

    def __init__(self, database: SqliteDatabase, name: str) -> None:
        self._database = database
        self.name = name

    @classmethod
    def open(cls, place: str | Path) -> "SqliteFleetLog":
        """Open the log at a path or `sqlite:///` URL, or make it. Raises as `Store.open` does."""
        return cls(*_opened(place))

    def append(self, records: Sequence[LogRecord], *, now: datetime) -> int:
        """Append records, all or none, and return the position of the last. Raises InvalidArgument for no records."""
        if not records:
            raise InvalidArgument.of("records", "none", "at least one")
        self._follow()
        rows = [{"frame_id": r.frame_id, "payload": r.payload, "appended": now} for r in records]
        with self._database.write() as connection:
            connection.execute(insert(entries), rows)
            return _end(connection)

    def read(self, after: int, limit: int) -> tuple[LogEntry, ...]:
        """Return up to `limit` entries with positions larger than `after`, in order.

        Raises InvalidArgument for a negative position or a limit below 1, Unavailable for a position that this log has not
        given yet: another log, or an older state of this one, took its place.
        """
        if after < 0:
            raise InvalidArgument.of("after", after, ">= 0")
        if limit < 1:
            raise InvalidArgument.of("limit", limit, ">= 1")
        self._follow()
        query = select(entries).where(entries.c.position > after).order_by(entries.c.position).limit(limit)
        with self._database.read() as connection:
            found = tuple(LogEntry(*row) for row in connection.execute(query))
            if not found and after > (last := _last_given(connection)):
                raise Unavailable(f"the fleet log was replaced by another: it ends at {last}, read was up to {after}")
            return found

    def end(self) -> int:
        """Return the position of the last entry, 0 in an empty log."""
        with self._database.read() as connection:
            return _end(connection)

    def _follow(self) -> None:
        """Open the file anew if another lies at its path; raises Unavailable where none does."""
        if not self._database.replaced():
            return
        if not self._database.path.exists():
            raise Unavailable(f"the fleet log is gone: there is no file {self._database.path}")
        before = self._database
        self._database, self.name = _opened(before.path)
        before.close()

    def close(self) -> None:
        """Close all connections."""
        self._database.close()

    def __enter__(self) -> "SqliteFleetLog":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _opened(place: str | Path) -> tuple[SqliteDatabase, str]:
    database = SqliteDatabase.open(sqlite_url(place), FixedSchema(metadata, "Quandary fleet log", LOG_VERSION, _seed))
    with database.read() as connection:
        return database, connection.execute(select(identity.c.name)).scalar_one()


def _last_given(connection: Connection) -> int:
    position: int | None = connection.execute(select(given.c.seq).where(given.c.name == entries.name)).scalar_one_or_none()
    return position or 0


def _end(connection: Connection) -> int:
    position: int | None = connection.execute(select(func.max(entries.c.position))).scalar_one()
    return position or 0


def _seed(connection: Connection) -> None:
    connection.execute(insert(identity).values(name=f"sqlite-{uuid.uuid4().hex}"))
