"""A store copied into another database, row by row: from SQLite to PostgreSQL, or back."""

from pathlib import Path
from typing import Protocol

from sqlalchemy import Connection, Table, delete, func, insert, select, text

from quandary.errors import WrongState
from quandary_server.storage.opening import check_there, open_database, url_of
from quandary_server.storage.options import DEFAULTS, StoreOptions
from quandary_server.storage.revisions import StoreSchema
from quandary_server.storage.schema import audit, counters, frames, marker, metadata, queues, run_log

__all__ = ["copy_store"]

BATCH = 1000


class Progress(Protocol):
    """Is told how many rows are copied, of how many."""

    def __call__(self, done: int, *, total: int) -> None:
        """Take note."""


def copy_store(
    source: str | Path,
    target: str | Path,
    options: StoreOptions = DEFAULTS,
    progress: Progress | None = None,
) -> int:
    """Copy all rows of a store into an empty one, all or none, and return how many; progress: told rows done and in all.

    The target is made if its database is empty. Raises WrongState where it has frames, NotFound
    without a source, and as `Store.open` does.
    """
    from_, to = url_of(source), url_of(target)
    check_there(from_)
    into = open_database(to, StoreSchema(may_upgrade=True), options)
    try:
        out_of = open_database(from_, StoreSchema(may_upgrade=False), options)
        try:
            with out_of.read() as reading, into.alter() as writing:
                return _copy(reading, writing, progress)
        finally:
            out_of.close()
    finally:
        into.close()


def _copy(reading: Connection, writing: Connection, progress: Progress | None) -> int:
    if writing.execute(select(frames.c.frame_id).limit(1)).first() is not None:
        raise WrongState("the target holds a store with frames, must be empty")
    for given in (queues, counters):  # every new store has some
        writing.execute(delete(given))
    tables = [table for table in metadata.sorted_tables if table is not marker]
    total = sum(reading.execute(select(func.count()).select_from(table)).scalar_one() for table in tables)
    done = 0
    for table in tables:
        for rows in reading.execute(select(table), execution_options={"yield_per": BATCH}).mappings().partitions():
            writing.execute(insert(table), [dict(row) for row in rows])
            done += len(rows)
            if progress is not None:
                progress(done, total=total)
    for numbered in (audit, run_log):
        _number_on(writing, numbered)
    return done


def _number_on(writing: Connection, table: Table) -> None:
    # SQLite goes on behind the largest id by itself
    if writing.dialect.name == "postgresql":
        writing.execute(
            text(f"SELECT setval(pg_get_serial_sequence('{table.name}', 'id'), max(id)) FROM {table.name} HAVING max(id) > 0")
        )
