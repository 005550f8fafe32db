"""One SQLite database: how it is opened, read and written."""

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout
from sqlalchemy import Connection, Engine, create_engine, event, text
from sqlalchemy.engine import URL
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.pool import ConnectionPoolEntry, NullPool

from quandary.errors import Unavailable
from quandary_server.storage.columns import to_json
from quandary_server.storage.database import Schema, bring_up_to_date
from quandary_server.storage.database_errors import named_errors
from quandary_server.storage.options import DEFAULTS, StoreOptions
from quandary_server.storage.shared_commit import SharedCommit

__all__ = ["SqliteDatabase"]

PROBE_TIMEOUT_S = 1.0
READER_CACHE_KIB, WRITER_CACHE_KIB = 2_048, 65_536
OPENING_TIMEOUT_S = 30
LOG_PAGES, LONG_LOG_PAGES = 1_000, 16_000
"""How long the write-ahead log may be when a commit begins to move it into the file: SQLite's own, and of `writing_much`."""
ROWS_BETWEEN = 1_500
"""How many rows may be written in `writing_much` before the log is moved; each changes about two pages."""


class SqliteDatabase:
    """A SQLite file that several threads and processes read and write at once.

    Write-ahead logging, so that readers and the writer never wait for each other. `synchronous=FULL`: a commit is on the disk
    when it returns, since labels that were acknowledged must survive a power cut; NORMAL would keep the file whole but may
    lose the last commits. Writers begin IMMEDIATE, so that none fails half-way for having read before it wrote, and within
    this process they take turns, which costs less than SQLite's sleeping and trying again; those that wait at the same time
    are committed together (`shared_commit`).
    """

    def __init__(self, url: URL, options: StoreOptions) -> None:
        self._engine = _engine(url, options, READER_CACHE_KIB, max_overflow=-1)
        # one connection writes: it alone knows that the pages it remembers are those of the file, and need not read them again
        self._writing = _engine(url, options, WRITER_CACHE_KIB, pool_size=1, max_overflow=0)
        self._probing = create_engine(url, poolclass=NullPool, connect_args={"timeout": PROBE_TIMEOUT_S})
        self._writes = SharedCommit(self._writing.execution_options(begins="BEGIN IMMEDIATE").begin)
        self.path = Path(url.database or "")
        self._file: tuple[int, int] | None = None

    @classmethod
    def open(cls, url: URL, schema: Schema, options: StoreOptions = DEFAULTS) -> "SqliteDatabase":
        """Open the database of a `sqlite:///` URL, and make the schema there where it is missing.

        Raises WrongState for a database of another kind or version, CorruptArtefact for a file that is no database, Unavailable
        where it cannot be opened.
        """
        database = cls(url, options)
        try:
            with _opening_alone(database.path):
                bring_up_to_date(database, schema, before=database._write_ahead)
            database._file = _file_at(database.path)
        except BaseException:
            database.close()
            raise
        return database

    @contextmanager
    def read(self, *, between_writes: bool = False) -> Iterator[Connection]:
        """Return a connection that sees one state of the database throughout: there is one writer, so always between writes."""
        with named_errors("read"), self._engine.begin() as connection:
            yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """Return a connection in a transaction that is committed at the end, or undone if the body raises.

        Raises Unavailable where another process writes for longer than the lock timeout or the disk is full, CorruptArtefact.
        """
        with named_errors("written"), self._writes.alone() as connection:
            yield connection

    alter = write

    @contextmanager
    def write_beside(self) -> Iterator[Connection]:
        """Return what `write` does, in a transaction that may be committed together with others of this kind.

        Raises WriteConflict too, where one of those failed.
        """
        with named_errors("written"), self._writes.beside() as connection:
            yield connection

    @contextmanager
    def writing_much(self) -> Iterator[Callable[[int], None]]:
        """Return what is told after each of many writes, in no transaction, how many rows it wrote.

        Commits do not move the log into the file meanwhile, which would hold others off for as long as the writes do: a thread
        does it beside them, and pages that were written several times are moved once. Raises as `write` does.
        """
        written, moving = 0, Future[None]()
        moving.set_result(None)

        def wrote(rows: int) -> None:
            nonlocal written, moving
            written += rows
            if written >= ROWS_BETWEEN and moving.done():
                moving.result()
                written, moving = 0, mover.submit(self._move_log)

        self._let_log_grow(LONG_LOG_PAGES)
        try:
            with ThreadPoolExecutor(1, thread_name_prefix="move-log") as mover:
                yield wrote
            moving.result()
            if written >= LOG_PAGES:  # or the next commit would have it all to move
                self._move_log()
        finally:
            self._let_log_grow(LOG_PAGES)

    def replaced(self) -> bool:
        """Return whether another file lies at the path than was opened, or none: what is open here is nobody's any more."""
        return _file_at(self.path) != self._file

    def probe(self) -> None:
        """Read the file over a new connection, which remembers no page of it, waiting 1 s at most.

        Raises Unavailable, CorruptArtefact.
        """
        if self.replaced():
            raise Unavailable("the database cannot be read now: its file is gone, or another lies in its place")
        with named_errors("read"), self._probing.connect() as connection:
            connection.execute(text("SELECT * FROM schema_version"))

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()
        self._writing.dispose()

    def _move_log(self) -> None:
        for _ in range(2):  # beside those who write: what they add during the first is less, and less still during the second
            _, pages, _ = self._at_once(self._engine, "PRAGMA wal_checkpoint(PASSIVE)")
        if pages >= LONG_LOG_PAGES // 2:
            with self._writes.between():  # what is left; then the log begins anew
                self._at_once(self._writing, "PRAGMA wal_checkpoint(PASSIVE)")

    def _let_log_grow(self, pages: int) -> None:
        with self._writes.between():
            self._at_once(self._writing, f"PRAGMA wal_autocheckpoint={pages}")

    @staticmethod
    def _at_once(engine: Engine, pragma: str) -> tuple[int, ...]:
        """Return a pragma's answer; it runs in no transaction."""
        with named_errors("written"), engine.execution_options(begins="").connect() as connection:
            return tuple(connection.exec_driver_sql(pragma).one())

    def _write_ahead(self) -> None:
        # Not within a transaction; the file remembers it, but a backup made by VACUUM INTO does not.
        with named_errors("opened"), self._engine.execution_options(begins="").begin() as connection:
            connection.exec_driver_sql("PRAGMA journal_mode=WAL")


def _file_at(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return status.st_dev, status.st_ino


def _engine(url: URL, options: StoreOptions, cache_kib: int, **pool: int) -> Engine:
    engine = create_engine(url, json_serializer=to_json, hide_parameters=True, **pool)
    busy_timeout_ms = round(options.lock_timeout.total_seconds() * 1000)

    @event.listens_for(engine, "connect")
    def _connect(connection: DBAPIConnection, _entry: ConnectionPoolEntry) -> None:
        connection.isolation_level = None  # this module says when a transaction begins
        cursor = connection.cursor()
        pragmas = (
            f"busy_timeout={busy_timeout_ms}",
            "synchronous=FULL",
            "foreign_keys=ON",
            f"cache_size=-{cache_kib}",
            "temp_store=MEMORY",  # what would undo a statement of many rows need not go to the disk: as much again as the rows
        )
        for pragma in pragmas:
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        begins: str = connection.get_execution_options().get("begins", "BEGIN")
        if begins:
            connection.exec_driver_sql(begins)

    return engine


@contextmanager
def _opening_alone(path: Path) -> Iterator[None]:
    # While one process switches a new file to write-ahead logging, SQLite turns any other away without waiting.
    if not path.parent.is_dir():
        raise Unavailable(f"the database cannot be opened now: there is no folder {path.parent}")
    try:
        with FileLock(f"{path}.lock", timeout=OPENING_TIMEOUT_S):
            yield
    except Timeout:
        raise Unavailable("the database cannot be opened now: another process has been opening it for long") from None
    except OSError as error:
        raise Unavailable(f"the database cannot be opened now: {error.strerror}") from error
