"""A registry's objects as files below a directory: written beside, synced, renamed."""

import errno
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

from filelock import FileLock

from quandary.errors import Unavailable
from quandary_server.files import sync_directory, write_atomically
from quandary_server.registry.manifest import sha256
from quandary_server.registry.objects import Changed, Entry, Found, NoObject, Objects

HEARTBEAT = timedelta(seconds=1)
LOOK_EVERY_S = 0.005
"""For the lock, while another process has it: it is held for a write."""
A_FOLDER = "folder"
NO_FILE = (errno.ENOENT, errno.ENOTDIR)


class DirectoryObjects(Objects):
    """Files below `root`, which is made if missing. A lock file beside them lets one process replace at a time."""

    heartbeat = HEARTBEAT

    def __init__(self, root: Path) -> None:
        self._root = root
        root.mkdir(parents=True, exist_ok=True)
        self._lock = FileLock(root / ".lock", poll_interval=LOOK_EVERY_S)

    def read(self, key: str) -> Found:
        """Return a file; one that is a folder is empty, and of a version of its own."""
        try:
            data = (self._root / key).read_bytes()
        except IsADirectoryError:
            return Found(b"", A_FOLDER)
        except OSError as error:
            if error.errno in NO_FILE:
                raise NoObject(key) from None
            raise Unavailable(f"{self._root / key} cannot be read: {error.strerror}") from error
        return Found(data, sha256(data))

    def swap(self, key: str, data: bytes, version: str | None) -> None:
        """Replace a file under the lock; a folder in its place is moved aside."""
        path = self._root / key
        with self._writing(path), self._lock:
            if self._version(key) != version:
                raise Changed(key)
            if version == A_FOLDER:
                path.rename(path.with_name(f"{path.name}.unreadable-{sha256(data)[:8]}"))
            self._make_parents(path)
            write_atomically(path, data)

    def write(self, key: str, data: bytes) -> None:
        """Replace a file, without a sync."""
        path = self._root / key
        with self._writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(path, data, durable=False)

    def delete(self, key: str) -> None:
        """Delete a file, and its folder with the last one in it."""
        path = self._root / key
        with self._writing(path), self._lock:
            if not path.parent.is_dir():
                return
            path.unlink(missing_ok=True)
            sync_directory(path.parent)
            if path.parent != self._root and not any(path.parent.iterdir()):
                path.parent.rmdir()
                sync_directory(path.parent.parent)

    def entries(self, folder: str) -> Sequence[Entry]:
        """Return the files of a folder; what was begun and never renamed has a name with a dot in front."""
        found = []
        for path in self._listed(folder):
            try:
                status = path.stat()
            except FileNotFoundError:
                continue
            if not path.is_dir():
                found.append(Entry(path.name, datetime.fromtimestamp(status.st_mtime, UTC)))
        return found

    def folders(self, folder: str) -> Sequence[str]:
        """Return the folders in a folder."""
        return [path.name for path in self._listed(folder) if path.is_dir()]

    def _listed(self, folder: str) -> list[Path]:
        try:
            return sorted((self._root / folder).iterdir())
        except OSError as error:
            if error.errno in NO_FILE:
                return []
            raise Unavailable(f"{self._root / folder} cannot be read: {error.strerror}") from error

    def _version(self, key: str) -> str | None:
        try:
            return self.read(key).version
        except NoObject:
            return None

    def _make_parents(self, path: Path) -> None:
        """Make the folders of a file, to last."""
        for folder in reversed(path.relative_to(self._root).parents):
            place = self._root / folder
            if not place.is_dir():
                place.mkdir()
                sync_directory(place.parent)

    @contextmanager
    def _writing(self, path: Path) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise Unavailable(f"{path} cannot be written: {error.strerror}") from error
