"""Writing files so that a reader, or a power cut, never sees half of one."""

import os
import tempfile
from pathlib import Path

from quandary.errors import Unavailable


def write_atomically(path: Path, data: bytes, *, durable: bool = True, mode: int = 0o644) -> None:
    """Write to a temporary name, sync (unless not `durable`), rename over `path`."""
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(file.fileno(), mode)
            file.write(data)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    if durable:
        sync_directory(path.parent)


def make_directory(path: Path) -> None:
    """Make a directory and those above it, where they are not there. Raises Unavailable."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Unavailable(f"the directory {path} cannot be made: {error.strerror}") from error


def sync_directory(path: Path) -> None:
    """Sync a directory, so that a rename in it lasts."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
