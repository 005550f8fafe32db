"""A real PostgreSQL server for tests: the machine's binaries, in a folder of its own, reached through a socket in it."""

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import psycopg
from psycopg import sql

from quandary_server.storage import Store
from quandary_server.storage.options import StoreOptions
from support.waiting import wait_for

OLDEST = 15
USER = "quandary"
SETTINGS = {
    "listen_addresses": "",
    "fsync": "off",  # a test's rows need not outlive the machine
    "full_page_writes": "off",
    "shared_buffers": "32MB",
    "max_connections": "60",
    "autovacuum": "off",
}
STORE = "store"
CLEAR = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid();
DELETE FROM exclusions; DELETE FROM frame_scores; DELETE FROM labels; DELETE FROM tasks; DELETE FROM frames;
DELETE FROM offsets; DELETE FROM rejected; DELETE FROM selectors; DELETE FROM runs; DELETE FROM audit;
DELETE FROM queues WHERE name NOT IN ('active', 'control');
DELETE FROM counters WHERE name LIKE 'passed_over/%'; UPDATE counters SET value = 0;
"""


def binaries() -> Path | None:
    """Return the folder of the newest initdb that is new enough, None where there is none."""
    found = [Path(path).resolve().parent for path in [shutil.which("initdb")] if path]  # not a folder of links
    found += Path("/usr/lib/postgresql").glob("*/bin")
    return max((folder for folder in found if _version(folder) >= OLDEST), key=_version, default=None)


def _version(folder: Path) -> int:
    initdb = folder / "initdb"
    if not initdb.exists():
        return 0
    told = subprocess.run([initdb, "--version"], capture_output=True, text=True, check=True).stdout
    return int(told.split()[2].partition(".")[0])


class PostgresServer:
    """One server; `made` makes it, and takes it away at the end."""

    def __init__(self, folder: Path, bin_: Path, user: str | None) -> None:
        self.folder = folder
        self._bin, self._user = bin_, user
        self._process: subprocess.Popen[bytes] | None = None
        self._numbers = count()

    def initialise(self) -> None:
        """Make an empty cluster, with a database that holds an empty store."""
        how = ["-U", USER, "--auth=trust", "--encoding=UTF8", "--no-sync"]
        command: list[Path | str] = [self._bin / "initdb", "-D", self.folder / "data", *how]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, user=self._user, cwd=self.folder)
        self.start()
        self.administer(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(STORE)))
        Store.open(self.url(STORE), options=StoreOptions(upgrade=True)).close()

    def start(self) -> None:
        """Start it and wait until it lets us in."""
        settings = [f"--{name}={value}" for name, value in {**SETTINGS, "unix_socket_directories": self.folder}.items()]
        command: list[Path | str] = [self._bin / "postgres", "-D", self.folder / "data", *settings]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, user=self._user, cwd=self.folder)
        wait_for(self._answers)

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """Stop it; SIGINT: connections are broken off, SIGQUIT: as if it had crashed."""
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait(timeout=60)

    def url(self, database: str) -> str:
        """Return the URL of a database."""
        return f"postgresql://{USER}@/{database}?host={self.folder}"

    def connect(self, database: str) -> "psycopg.Connection[tuple[object, ...]]":
        """Return a connection that commits each statement."""
        return psycopg.connect(host=str(self.folder), user=USER, dbname=database, autocommit=True)

    def run(self, program: str, *arguments: str) -> None:
        """Run one of PostgreSQL's own programs, as its user."""
        command: list[Path | str] = [self._bin / program, "-h", self.folder, "-U", USER, *arguments]
        subprocess.run(command, check=True, user=self._user, cwd=self.folder)

    def administer(self, statement: sql.Composed) -> None:
        """Execute a statement about databases."""
        with self.connect("postgres") as connection:
            connection.execute(statement)

    @contextmanager
    def empty_store(self) -> Iterator[str]:
        """Return the URL of an empty store, the same at every call: whoever is still connected is thrown out."""
        with self.connect(STORE) as connection:
            connection.execute(CLEAR)
        yield self.url(STORE)

    @contextmanager
    def database(self) -> Iterator[str]:
        """Return the URL of an empty database of one's own: a hundred times as slow."""
        name = sql.Identifier(f"database_{next(self._numbers)}")
        self.administer(sql.SQL("CREATE DATABASE {} TEMPLATE template0").format(name))
        try:
            yield self.url(name.as_string().strip('"'))
        finally:
            self.administer(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(name))

    def _answers(self) -> bool:
        try:
            self.connect("postgres").close()
        except psycopg.OperationalError:
            return False
        return True


def why_none() -> str:
    """Return why no server can be started here, empty where one can."""
    if binaries() is None:
        return f"no initdb of PostgreSQL {OLDEST} or newer"
    if os.getuid() == 0 and not any(entry.pw_name == "postgres" for entry in pwd.getpwall()):
        return "PostgreSQL refuses to run as root, and there is no user postgres"
    return ""


@contextmanager
def made() -> Iterator[PostgresServer]:
    """Return a new server, which is gone at the end."""
    bin_ = binaries()
    assert bin_ is not None
    user = "postgres" if os.getuid() == 0 else None
    folder = Path(tempfile.mkdtemp(prefix="quandary-pg-"))  # short: a socket's path may have 107 characters
    if user:
        shutil.chown(folder, user)
    server = PostgresServer(folder, bin_, user)
    try:
        server.initialise()
        yield server
    finally:
        server.stop(signal.SIGQUIT)  # at once
        shutil.rmtree(folder)
