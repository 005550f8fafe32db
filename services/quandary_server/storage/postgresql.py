"""One PostgreSQL database: how it is opened, read and written."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta

from sqlalchemy import Connection, Engine, TextClause, create_engine, text
from sqlalchemy.engine import URL

from quandary.errors import Unavailable, WrongState
from quandary_server.storage.columns import to_json
from quandary_server.storage.database import Schema, bring_up_to_date
from quandary_server.storage.database_errors import named_errors
from quandary_server.storage.options import DEFAULTS, StoreOptions
from quandary_server.storage.prepared import Prepared, together

__all__ = ["PostgresDatabase"]

OLDEST_SERVER = 15
IDLE_IN_TRANSACTION_TIMEOUT = timedelta(minutes=1)
PROBE_TIMEOUT_S = 2

WRITERS = int.from_bytes(b"quandary", "big", signed=True)
"""The advisory lock of the writers: those that run alone hold it whole, those that run beside each other share it.

No lock on a table: vacuum has one there, and each would wait for the other. Waiters of either kind are served in their order.
"""

CONNECTION = {
    "application_name": "quandary",
    "connect_timeout": 10,
    # a server that is gone without a word is noticed within a minute
    "keepalives_idle": 20,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 50_000,
}
"""Parameters of a connection, where the URL gives no others."""

ALONE = text(f"SELECT pg_advisory_xact_lock({WRITERS})")
BESIDE = text(f"SELECT pg_advisory_xact_lock_shared({WRITERS})")
LOCKS = {ALONE: Prepared(ALONE), BESIDE: Prepared(BESIDE)}

SERVER = text(
    "SELECT current_setting('server_version_num')::int / 10000 AS version, current_setting('server_encoding') AS encoding,"
    " current_setting('synchronous_commit') AS synchronous_commit"
)


class PostgresDatabase:
    """A database of a PostgreSQL server, 15 or newer.

    Reading transactions see one snapshot (REPEATABLE READ). Writing ones see what was committed before each statement, and
    begin with the writers' lock: so `write` finds what it needs to find on SQLite too, one writer, while labellers lease beside
    each other under row locks. A connection is asked for a sign of life before it is used, which gets over a restart of the
    server; a transaction that a restart breaks ends in Unavailable.
    """

    def __init__(self, url: URL, options: StoreOptions) -> None:
        self._engine = _engine(url, options)
        self._reading = self._engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
        self._probing = _probing_engine(url)

    @classmethod
    def open(cls, url: URL, schema: Schema, options: StoreOptions = DEFAULTS) -> "PostgresDatabase":
        """Open the database of a `postgresql+psycopg://` URL, and bring the schema up to date there if that is allowed.

        Raises WrongState for a server that is too old or does not keep what it has committed, and for a database of another
        kind or revision; Unavailable where it cannot be reached.
        """
        database = cls(url, options)
        try:
            database._check_server()
            bring_up_to_date(database, schema)
        except BaseException:
            database.close()
            raise
        return database

    @contextmanager
    def read(self, *, between_writes: bool = False) -> Iterator[Connection]:
        """Return a connection that sees one state of the database throughout. Raises Unavailable."""
        if between_writes:
            with self._begun("read", ALONE) as connection:
                yield connection
            return
        with named_errors("read"), self._reading.begin() as connection:
            yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """Return a connection in a transaction that no other writer runs beside. Raises Unavailable, WriteConflict."""
        with self._begun("written", ALONE) as connection:
            yield connection

    @contextmanager
    def write_beside(self) -> Iterator[Connection]:
        """Return a connection in a transaction that others of its kind run beside. Raises Unavailable, WriteConflict."""
        with self._begun("written", BESIDE) as connection:
            yield connection

    @contextmanager
    def alter(self) -> Iterator[Connection]:
        """Return what `write` does, without a limit on how long a statement may take."""
        with self.write() as connection:
            connection.execute(text("SET LOCAL statement_timeout = 0"))
            yield connection

    @contextmanager
    def writing_much(self) -> Iterator[Callable[[int], None]]:
        """Return what is told after each of many writes how many rows it wrote: the server does the rest by itself."""
        yield lambda _: None

    def probe(self) -> None:
        """Ask over a connection of its own, waiting 2 s at most; raises Unavailable, of a standby too: it cannot be written."""
        with named_errors("read"), self._probing.connect() as connection:
            if connection.execute(text("SELECT pg_is_in_recovery()")).scalar_one():
                raise Unavailable("the database cannot be written now: its server is a standby")

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()
        self._probing.dispose()

    @contextmanager
    def _begun(self, done: str, lock: TextClause) -> Iterator[Connection]:
        with named_errors(done), self._engine.begin() as connection:
            with together(connection):  # what begins the transaction goes along
                LOCKS[lock].send(connection, {})
            yield connection

    def _check_server(self) -> None:
        with self.read() as connection:
            server = connection.execute(SERVER).one()
        if server.version < OLDEST_SERVER:
            raise WrongState(f"the server is PostgreSQL {server.version}, must be {OLDEST_SERVER} or newer")
        if server.encoding != "UTF8":
            raise WrongState(f"the database has the encoding {server.encoding}, must be UTF8")
        if server.synchronous_commit == "off":
            raise WrongState("synchronous_commit is off: labels that were acknowledged would not survive a power cut")


def _engine(url: URL, options: StoreOptions) -> Engine:
    limits = _milliseconds(
        lock_timeout=options.lock_timeout,
        statement_timeout=options.statement_timeout,
        # a process that hangs, or is gone without a word, gives back its locks
        idle_in_transaction_session_timeout=IDLE_IN_TRANSACTION_TIMEOUT,
    )
    given = url.query.get("options", "")
    defaults = {name: value for name, value in CONNECTION.items() if name not in url.query}
    return create_engine(
        url,
        json_serializer=to_json,
        isolation_level="READ COMMITTED",
        pool_size=options.connections,
        max_overflow=0,
        pool_timeout=options.lock_timeout.total_seconds(),
        pool_pre_ping=True,
        hide_parameters=True,
        connect_args={**defaults, "options": f"{limits} -c timezone=UTC {given}".strip()},
    )


def _probing_engine(url: URL) -> Engine:
    # one connection that stays: whoever asks for readiness, without a token, must not make the server work
    limit = timedelta(seconds=PROBE_TIMEOUT_S)
    return create_engine(
        url,
        isolation_level="AUTOCOMMIT",
        pool_size=1,
        max_overflow=0,
        pool_timeout=PROBE_TIMEOUT_S,
        pool_pre_ping=True,
        connect_args={
            "application_name": "quandary readiness",
            "connect_timeout": PROBE_TIMEOUT_S,
            "tcp_user_timeout": PROBE_TIMEOUT_S * 1000,
            "options": _milliseconds(statement_timeout=limit),
        },
    )


def _milliseconds(**limits: timedelta) -> str:
    return " ".join(f"-c {name}={round(limit.total_seconds() * 1000)}" for name, limit in limits.items())
