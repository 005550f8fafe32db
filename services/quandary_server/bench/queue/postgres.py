"""A PostgreSQL server for as long as it is measured: the machine's binaries, in a folder of its own."""

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg

from quandary.errors import Unavailable

OLDEST = 15
USER, DATABASE = "quandary", "postgres"
SETTINGS = {"listen_addresses": "", "shared_buffers": "256MB", "max_connections": "100"}
"""Beside PostgreSQL's own: what it commits is on the disk, and it vacuums as it does by default."""

START_TIMEOUT_S, STOP_TIMEOUT_S, LOOK_EVERY_S = 30.0, 60.0, 0.05


@contextmanager
def postgres_server() -> Iterator[str]:
    """Return the URL of an empty database. Raises Unavailable where no server can be started, with the reason."""
    programs, user = _programs(), _user()
    folder = Path(tempfile.mkdtemp(prefix="quandary-pg-"))  # short: a socket's path may have 107 characters
    try:
        if user:
            shutil.chown(folder, user)
        made: list[Path | str] = [programs / "initdb", "-D", folder / "data", "-U", USER, "--auth=trust", "--encoding=UTF8"]
        subprocess.run(made, check=True, stdout=subprocess.DEVNULL, user=user, cwd=folder)
        settings = [f"--{name}={value}" for name, value in {**SETTINGS, "unix_socket_directories": folder}.items()]
        with (folder / "log").open("wb") as log:
            command: list[Path | str] = [programs / "postgres", "-D", folder / "data", *settings]
            server = subprocess.Popen(command, stdout=log, stderr=log, user=user, cwd=folder)
        try:
            _wait(server, folder)
            yield f"postgresql://{USER}@/{DATABASE}?host={folder}"
        finally:
            server.send_signal(signal.SIGQUIT)  # at once: nothing of it is kept
            server.wait(STOP_TIMEOUT_S)
    finally:
        shutil.rmtree(folder)


def _programs() -> Path:
    found = [Path(path).resolve().parent for path in [shutil.which("initdb")] if path]  # not a folder of links
    found += Path("/usr/lib/postgresql").glob("*/bin")
    new = [folder for folder in found if _version(folder) >= OLDEST]
    if not new:
        raise Unavailable(f"there is no initdb of PostgreSQL {OLDEST} or newer")
    return max(new, key=_version)


def _version(folder: Path) -> int:
    initdb = folder / "initdb"
    if not initdb.exists():
        return 0
    told = subprocess.run([initdb, "--version"], capture_output=True, text=True, check=True).stdout
    return int(told.split()[2].partition(".")[0])


def _user() -> str | None:
    """Return whom to run it as, None: whoever runs this. Raises Unavailable for root where there is no user postgres."""
    if os.getuid() != 0:
        return None
    if not any(entry.pw_name == "postgres" for entry in pwd.getpwall()):
        raise Unavailable("PostgreSQL refuses to run as root, and there is no user postgres")
    return "postgres"


def _wait(server: "subprocess.Popen[bytes]", folder: Path) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while True:
        try:
            psycopg.connect(host=str(folder), user=USER, dbname=DATABASE).close()
        except psycopg.OperationalError:
            if server.poll() is not None or time.monotonic() > deadline:
                raise Unavailable(f"PostgreSQL does not answer; its log: {(folder / 'log').read_text()}") from None
            time.sleep(LOOK_EVERY_S)
        else:
            return
