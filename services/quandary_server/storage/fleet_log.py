"""The fleet log in a SQLite file: frame records in the order in which the fleet published them."""

import hashlib
import uuid
from collections.abc import Callable, Sequence
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Self

from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    column,
    func,
    insert,
    select,
    table,
    true,
)

from quandary.errors import InvalidArgument, Unavailable
from quandary_server.storage.columns import Serial, Time
from quandary_server.storage.fixed_schema import FixedSchema
from quandary_server.storage.frame_log import LogBatch, LogEntry, LogRecord, SourceLag
from quandary_server.storage.opening import sqlite_url
from quandary_server.storage.sqlite import SqliteDatabase

__all__ = ["MAX_PARTITIONS", "SqliteFleetLog"]

LOG_VERSION = 1
MAX_PARTITIONS = 256

metadata = MetaData()

entries = Table(
    "entries",
    metadata,
    Column("position", Serial, primary_key=True),
    Column("frame_id", String, nullable=False),
    Column("payload", LargeBinary, nullable=False),
    Column("appended", Time, nullable=False),
    # Logs made before it have it not: they are one partition, of which nobody asks for the column.
    Column("partition", Integer, nullable=False, server_default="0"),
    sqlite_autoincrement=True,  # a position is never given twice, not even after entries were removed
)
Index("entries_of_partition", entries.c.partition, entries.c.position)

ENTRY = (entries.c.position, entries.c.frame_id, entries.c.payload, entries.c.appended)

identity = Table("identity", metadata, Column("name", String, primary_key=True))

# SQLite's own: the last position ever given, whether or not its entry is there still
given = table("sqlite_sequence", column("name"), column("seq"))


class SqliteFleetLog:
    """A fleet log in a SQLite file of its own, which several processes append to and read at once.

    A reader that goes on behind the last position it saw misses nothing: SQLite admits one writer at a time, so positions are
    given in the order of the commits and nothing can appear behind it later. PostgreSQL gives that no guarantee: there a
    smaller position may be committed after a larger one was read.

    Its partitions are its sources; how many it has is decided when it is made, and stands in its name. A drive's records are
    in one of them. Where the file at the path is replaced by another, reading and appending go on with that one, under its
    `name`.
    """

    def __init__(self, database: SqliteDatabase, name: str) -> None:
        self._database = database
        self.name = name

    @classmethod
    def open(cls, place: str | Path, *, partitions: int = 1) -> Self:
        """Open the log at a path or `sqlite:///` URL, or make it with so many partitions. Raises as `Store.open` does."""
        if not 1 <= partitions <= MAX_PARTITIONS:
            raise InvalidArgument.of("partitions", partitions, f"in [1, {MAX_PARTITIONS}]")
        return cls(*_opened(place, partitions))

    @property
    def partitions(self) -> int:
        """How many sources the log has."""
        _, several, count = self.name.partition("-p")
        return int(count) if several else 1

    def append(self, records: Sequence[LogRecord], *, now: datetime) -> None:
        """Append records, all or none. Raises InvalidArgument for no records."""
        if not records:
            raise InvalidArgument.of("records", "none", "at least one")
        self._follow()
        rows = [{"frame_id": r.frame_id, "payload": r.payload, "appended": now, **self._partition_of(r)} for r in records]
        with self._database.write() as connection:
            connection.execute(insert(entries), rows)

    def sources(self) -> Sequence[str]:
        """Return the partitions; a log of one partition is called by its name."""
        self._follow()
        count = self.partitions
        return (self.name,) if count == 1 else tuple(f"{self.name}/{i}" for i in range(count))

    def read(self, source: str, after: int, limit: int) -> LogBatch:
        """Return up to `limit` entries of a source with positions larger than `after`, in order.

        Raises InvalidArgument for a negative position or a limit below 1, Unavailable for a position that this log has not
        given yet, or a source that is none of its own: another log, or an older state of this one, took its place.
        """
        if after < 0:
            raise InvalidArgument.of("after", after, ">= 0")
        if limit < 1:
            raise InvalidArgument.of("limit", limit, ">= 1")
        if source not in self.sources():
            raise Unavailable(f"the fleet log was replaced by another: {source} is no source of {self.name}")
        query = select(*ENTRY).where(entries.c.position > after, self._of(source)).order_by(entries.c.position).limit(limit)
        with self._database.read() as connection:
            found = tuple(LogEntry(*row) for row in connection.execute(query))
            if not found and after > (last := _last_given(connection)):
                raise Unavailable(f"the fleet log was replaced by another: it ends at {last}, read was up to {after}")
        return LogBatch(found, found[-1].position if found else after)

    def committed(self, source: str, position: int) -> None:
        """Keep nothing of it: offsets are the reader's."""

    def lags(self, offset: Callable[[str], int]) -> Sequence[SourceLag]:
        """Return how far each partition is behind."""
        found = []
        for i, source in enumerate(self.sources()):
            applied = offset(source)
            with self._database.read() as connection:
                found.append(SourceLag(source, str(i), applied, self._waiting(connection, source, applied)))
        return found

    def tail(self, count: int) -> Sequence[LogEntry]:
        """Return the last entries, the oldest of them first."""
        with self._database.read() as connection:
            last = connection.execute(select(*ENTRY).order_by(entries.c.position.desc()).limit(count)).all()
        return [LogEntry(*row) for row in reversed(last)]

    def end(self) -> int:
        """Return the position of the last entry, 0 in an empty log."""
        with self._database.read() as connection:
            return _end(connection)

    def _waiting(self, connection: Connection, source: str, applied: int) -> int:
        if self.partitions == 1:  # positions without gaps; counting rows would take longer the more there are
            return max(_end(connection) - applied, 0)
        query = select(func.count()).where(entries.c.position > applied, self._of(source))
        waiting: int = connection.execute(query).scalar_one()
        return waiting

    def _of(self, source: str) -> ColumnElement[bool]:
        _, several, partition = source.rpartition("/")
        return entries.c.partition == int(partition) if several else true()

    def _partition_of(self, record: LogRecord) -> dict[str, int]:
        count = self.partitions
        if count == 1:
            return {}
        digest = hashlib.blake2b(record.key.encode(), digest_size=8).digest()
        return {"partition": int.from_bytes(digest, "big") % count}

    def _follow(self) -> None:
        """Open the file anew if another lies at its path; raises Unavailable where none does."""
        if not self._database.replaced():
            return
        if not self._database.path.exists():
            raise Unavailable(f"the fleet log is gone: there is no file {self._database.path}")
        before = self._database
        self._database, self.name = _opened(before.path, self.partitions)
        before.close()

    def close(self) -> None:
        """Close all connections."""
        self._database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _opened(place: str | Path, partitions: int) -> tuple[SqliteDatabase, str]:
    seed = partial(_seed, partitions=partitions)
    database = SqliteDatabase.open(sqlite_url(place), FixedSchema(metadata, "Quandary fleet log", LOG_VERSION, seed))
    with database.read() as connection:
        return database, connection.execute(select(identity.c.name)).scalar_one()


def _last_given(connection: Connection) -> int:
    position: int | None = connection.execute(select(given.c.seq).where(given.c.name == entries.name)).scalar_one_or_none()
    return position or 0


def _end(connection: Connection) -> int:
    position: int | None = connection.execute(select(func.max(entries.c.position))).scalar_one()
    return position or 0


def _seed(connection: Connection, partitions: int) -> None:
    several = f"-p{partitions}" if partitions > 1 else ""
    connection.execute(insert(identity).values(name=f"sqlite-{uuid.uuid4().hex}{several}"))
