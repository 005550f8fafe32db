"""Which MCAP files a directory holds, itself or below it."""

import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from quandary.errors import Unavailable

__all__ = ["Found", "Signature", "files_below"]

SUFFIX = ".mcap"


@dataclass(frozen=True, slots=True)
class Signature:
    """What tells that a file has changed."""

    inode: int
    size: int
    modified_ns: int

    @classmethod
    def of(cls, found: os.stat_result) -> "Signature":
        """Return the signature of a file."""
        return cls(found.st_ino, found.st_size, found.st_mtime_ns)


@dataclass(frozen=True, slots=True)
class Found:
    """The files, and what the system does not let us look at, files and folders, with what it says."""

    files: dict[Path, Signature] = field(default_factory=dict)
    unreadable: dict[Path, str] = field(default_factory=dict)


def files_below(directory: Path) -> Found:
    """Return the regular files called *.mcap of a directory and those below it, links to files among them.

    What disappears meanwhile is not there. Raises Unavailable where the directory itself cannot be read.
    """
    found = Found()

    def away(error: OSError) -> None:
        path = Path(os.fsdecode(error.filename))
        if path == directory:
            gone = isinstance(error, FileNotFoundError | NotADirectoryError)
            problem = f"there is no directory {directory}" if gone else f"{directory} cannot be read: {said(error)}"
            raise Unavailable(problem) from error
        if not isinstance(error, FileNotFoundError):
            found.unreadable[path] = said(error)

    for path in _named(directory, away):
        try:
            status = path.stat()
        except FileNotFoundError:
            continue
        except OSError as error:
            found.unreadable[path] = said(error)
            continue
        if stat.S_ISREG(status.st_mode):
            found.files[path] = Signature.of(status)
    return found


def said(error: OSError) -> str:
    """Return what the system says of an error."""
    return error.strerror or type(error).__name__


def _named(directory: Path, away: Callable[[OSError], None]) -> Iterator[Path]:
    for folder, _, names in os.walk(directory, onerror=away):
        yield from (Path(folder, name) for name in names if name.endswith(SUFFIX))
