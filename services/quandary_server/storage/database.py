"""One SQLite database: how it is opened, read and written."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from filelock import FileLock, Timeout
from sqlalchemy import (
    Column,
    Connection,
    Engine,
    Integer,
    MetaData,
    String,
    Table,
    create_engine,
    event,
    insert,
    inspect,
    select,
)
from sqlalchemy.engine import URL, make_url
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import ArgumentError, DatabaseError, OperationalError, StatementError
from sqlalchemy.pool import ConnectionPoolEntry, NullPool

from quandary.errors import CorruptArtefact, InvalidArgument, QuandaryError, Unavailable, WrongState
from quandary_server.storage.turns import Turns

__all__ = ["Database"]

BUSY_TIMEOUT_MS = 30_000
PROBE_TIMEOUT_S = 1.0
OPENING_TIMEOUT_S = 30


class Database:
    """A SQLite file that several threads and processes read and write at once.

    Write-ahead logging, so that readers and the writer never wait for each other. `synchronous=FULL`: a commit is on the disk
    when it returns, since labels that were acknowledged must survive a power cut; NORMAL would keep the file whole but may
    lose the last commits. Writers begin IMMEDIATE, so that none fails half-way for having read before it wrote, and within
    this process they take turns, which costs less than SQLite's sleeping and trying again.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._writing = engine.execution_options(begins="BEGIN IMMEDIATE")
        self._probing = create_engine(engine.url, poolclass=NullPool, connect_args={"timeout": PROBE_TIMEOUT_S})
        self._write_turns = Turns()
        self.path = Path(engine.url.database or "")
        self._file: tuple[int, int] | None = None

    @classmethod
    def open(
        cls, place: str | Path, metadata: MetaData, *, kind: str, version: int, seed: Callable[[Connection], None]
    ) -> "Database":
        """Open the database at a path or `sqlite:///` URL; a new one gets the tables and what `seed` puts in.

        Raises InvalidArgument for another kind of URL, WrongState for a database of another kind or schema version,
        CorruptArtefact for a file that is no database, Unavailable where it cannot be opened.
        """
        url = _sqlite_url(place)
        database = cls(_engine(url))
        try:
            with _opening_alone(url):
                with database.read() as connection:
                    made = _check(connection, kind, version)  # before anything of a foreign file is changed
                database._write_ahead()
                if not made:
                    with database.write() as connection:
                        _create(connection, metadata, kind, version, seed)
            database._file = _file_at(database.path)
        except BaseException:
            database.close()
            raise
        return database

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """Return a connection that sees one state of the database throughout. Raises Unavailable, CorruptArtefact."""
        with _named_errors("read"), self._engine.begin() as connection:
            yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """Return a connection in a transaction that is committed at the end, or undone if the body raises.

        Raises Unavailable where another process writes for more than 30 s or the disk is full, CorruptArtefact.
        """
        with self._write_turns, _named_errors("written"), self._writing.begin() as connection:
            yield connection

    def replaced(self) -> bool:
        """Return whether another file lies at the path than was opened, or none: what is open here is nobody's any more."""
        return _file_at(self.path) != self._file

    def probe(self) -> None:
        """Read a line of the file over a new connection, which remembers no page of it, waiting 1 s at most.

        Raises Unavailable, CorruptArtefact.
        """
        if self.replaced():
            raise Unavailable("the database cannot be read now: its file is gone, or another lies in its place")
        with _named_errors("read"), self._probing.connect() as connection:
            connection.execute(select(_versions()))

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()

    def _write_ahead(self) -> None:
        # Not within a transaction; the file remembers it, but a backup made by VACUUM INTO does not.
        with _named_errors("opened"), self._engine.execution_options(begins="").begin() as connection:
            connection.exec_driver_sql("PRAGMA journal_mode=WAL")


def _file_at(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return status.st_dev, status.st_ino


def _sqlite_url(place: str | Path) -> URL:
    if isinstance(place, Path) or "://" not in place:
        return URL.create("sqlite", database=str(place))
    try:
        url = make_url(place)
    except ArgumentError:
        raise InvalidArgument.of("url", "not a URL", "a path or sqlite:///PATH") from None
    if url.get_backend_name() != "sqlite" or not url.database or url.database == ":memory:":
        # The rest of the URL may hold a password.
        raise InvalidArgument.of("url", f"{url.drivername}://...", "a path or sqlite:///PATH")
    return url


def _engine(url: URL) -> Engine:
    serializer = partial(json.dumps, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    engine = create_engine(url, json_serializer=serializer, max_overflow=-1)

    @event.listens_for(engine, "connect")
    def _connect(connection: DBAPIConnection, _entry: ConnectionPoolEntry) -> None:
        connection.isolation_level = None  # this module says when a transaction begins
        cursor = connection.cursor()
        for pragma in (f"busy_timeout={BUSY_TIMEOUT_MS}", "synchronous=FULL", "foreign_keys=ON"):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        begins: str = connection.get_execution_options().get("begins", "BEGIN")
        if begins:
            connection.exec_driver_sql(begins)

    return engine


@contextmanager
def _opening_alone(url: URL) -> Iterator[None]:
    # While one process switches a new file to write-ahead logging, SQLite turns any other away without waiting.
    path = Path(url.database or "")
    if not path.parent.is_dir():
        raise Unavailable(f"the database cannot be opened now: there is no folder {path.parent}")
    try:
        with FileLock(f"{path}.lock", timeout=OPENING_TIMEOUT_S):
            yield
    except Timeout:
        raise Unavailable("the database cannot be opened now: another process has been opening it for long") from None
    except OSError as error:
        raise Unavailable(f"the database cannot be opened now: {error.strerror}") from error


@contextmanager
def _named_errors(done: str) -> Iterator[None]:
    # The message is the driver's, without the statement and its values.
    try:
        yield
    except OperationalError as error:
        raise Unavailable(f"the database cannot be {done} now: {error.orig}") from error
    except StatementError as error:
        if isinstance(error.orig, QuandaryError):  # of a column type
            raise error.orig from None
        if type(error) is DatabaseError:
            raise CorruptArtefact(f"the database cannot be {done}: {error.orig}") from error
        raise


def _check(connection: Connection, kind: str, version: int) -> bool:
    """Return whether the database was made already; raises WrongState if it is of another kind or version."""
    tables = inspect(connection).get_table_names()
    if not tables:
        return False
    made = _versions()
    found = connection.execute(select(made.c.kind, made.c.version)).one_or_none() if made.name in tables else None
    if found is None or found.kind != kind:
        raise WrongState(f"the file is no {kind} but {'another database' if found is None else f'a {found.kind}'}")
    if found.version != version:
        remedy = "upgrade Quandary" if found.version > version else "migrate it"
        raise WrongState(f"the {kind} has schema version {found.version}, this program knows {version}: {remedy}")
    return True


def _create(connection: Connection, metadata: MetaData, kind: str, version: int, seed: Callable[[Connection], None]) -> None:
    metadata.create_all(connection)
    made = _versions()
    made.create(connection)
    connection.execute(insert(made).values(kind=kind, version=version))
    seed(connection)


def _versions() -> Table:
    return Table("schema_version", MetaData(), Column("kind", String), Column("version", Integer))
