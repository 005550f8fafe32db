"""A PostgreSQL server of one's own, of the machine's binaries: in a folder, reached through a socket in it."""

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import psycopg

from quandary.errors import NotFound, Unavailable

__all__ = ["PostgresServer", "postgres_server"]

OLDEST = 15
USER, DATABASE = "quandary", "postgres"
SETTINGS = {"listen_addresses": "", "shared_buffers": "256MB", "max_connections": "100"}
"""Beside PostgreSQL's own: what it commits is on the disk, and it vacuums as it does by default."""

START_TIMEOUT_S, STOP_TIMEOUT_S, LOOK_EVERY_S = 30.0, 60.0, 0.02


class PostgresServer:
    """One server. programs: the folder of its binaries; user: whom to run it as, None: whoever runs this."""

    def __init__(self, folder: Path, programs: Path, user: str | None, settings: Mapping[str, str]) -> None:
        self.folder = folder
        self._programs, self._user = programs, user
        self._settings = {**settings, "unix_socket_directories": str(folder)}
        self._process: subprocess.Popen[bytes] | None = None

    def initialise(self) -> None:
        """Make an empty cluster."""
        how = ["-U", USER, "--auth=trust", "--encoding=UTF8", "--no-sync"]
        command: list[Path | str] = [self._programs / "initdb", "-D", self.folder / "data", *how]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, user=self._user, cwd=self.folder)

    def start(self) -> None:
        """Start it and wait until it lets us in. Raises Unavailable with its log where it does not."""
        settings = [f"--{name}={value}" for name, value in self._settings.items()]
        command: list[Path | str] = [self._programs / "postgres", "-D", self.folder / "data", *settings]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, user=self._user, cwd=self.folder)
        deadline = time.monotonic() + START_TIMEOUT_S
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise Unavailable(f"PostgreSQL does not answer; its log: {(self.folder / 'log').read_text()}")
            time.sleep(LOOK_EVERY_S)

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """Stop it; SIGINT: connections are broken off, SIGQUIT: as if it had crashed."""
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait(STOP_TIMEOUT_S)

    def url(self, database: str = DATABASE) -> str:
        """Return the URL of a database."""
        return f"postgresql://{USER}@/{database}?host={self.folder}"

    def connect(self, database: str = DATABASE) -> "psycopg.Connection[tuple[object, ...]]":
        """Return a connection that commits each statement."""
        return psycopg.connect(host=str(self.folder), user=USER, dbname=database, autocommit=True)

    def run(self, program: str, *arguments: str) -> None:
        """Run one of PostgreSQL's own programs, as its user."""
        command: list[Path | str] = [self._programs / program, "-h", self.folder, "-U", USER, *arguments]
        subprocess.run(command, check=True, user=self._user, cwd=self.folder)

    def _answers(self) -> bool:
        try:
            self.connect().close()
        except psycopg.OperationalError:
            return False
        return True


@contextmanager
def postgres_server(settings: Mapping[str, str] = SETTINGS) -> Iterator[PostgresServer]:
    """Run an empty server, which is gone at the end. Raises NotFound for want of programs or user, Unavailable if it fails."""
    programs, user = _programs(), _user()
    folder = Path(tempfile.mkdtemp(prefix="quandary-pg-"))  # short: a socket's path may have 107 characters
    if user:
        shutil.chown(folder, user)
    server = PostgresServer(folder, programs, user, settings)
    try:
        server.initialise()
        server.start()
        yield server
    finally:
        server.stop(signal.SIGQUIT)  # at once: nothing of it is kept
        shutil.rmtree(folder)


def _programs() -> Path:
    found = [Path(path).resolve().parent for path in [shutil.which("initdb")] if path]  # not a folder of links
    found += Path("/usr/lib/postgresql").glob("*/bin")
    new = [folder for folder in found if _version(folder) >= OLDEST]
    if not new:
        raise NotFound(f"there is no initdb of PostgreSQL {OLDEST} or newer")
    return max(new, key=_version)


def _version(folder: Path) -> int:
    initdb = folder / "initdb"
    if not initdb.exists():
        return 0
    told = subprocess.run([initdb, "--version"], capture_output=True, text=True, check=True).stdout
    return int(told.split()[2].partition(".")[0])


def _user() -> str | None:
    """Return whom to run it as, None: whoever runs this. Raises NotFound for root where there is no user postgres."""
    if os.getuid() != 0:
        return None
    if not any(entry.pw_name == "postgres" for entry in pwd.getpwall()):
        raise NotFound("PostgreSQL refuses to run as root, and there is no user postgres")
    return "postgres"
