"""A watched directory of MCAP files as the fleet log: each file is a source."""

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta
from pathlib import Path

from quandary.errors import Unavailable
from quandary_server.storage.frame_log import LogBatch, LogEntry, SourceLag
from quandary_server.storage.mcap_cursor import Stop
from quandary_server.storage.mcap_file import McapFile
from quandary_server.storage.mcap_folder import files_below, said

__all__ = ["McapLog"]

events = logging.getLogger(__name__)

LABEL = "files"


class McapLog:
    """All `*.mcap` files of a directory and those below it, read while they are written, rotated and renamed.

    A source is a file, by what it begins with (`identity_of`): neither its name nor its growth matters, and of two files that
    begin alike the longer is read. A position is a byte of the file and a count (`position_of`), so it stays right when the
    file grows. What cannot be read now is tried again whenever the file changes: behind a part that is missing nothing is
    read, a chunk that is damaged is passed over, as a rejected entry of its own, and once it can be read it is a source of
    its own, whose name ends in the chunk's byte.
    """

    def __init__(
        self,
        directory: Path,
        settle: timedelta,
        clock: Callable[[], datetime],
        passed_over: Callable[[str], tuple[int, ...]] | None = None,
        *,
        exact: bool = False,
    ) -> None:
        """Watch a directory.

        passed_over: positions of a source that were rejected unread. settle: how long ago an unfinished file was written that
        counts as truncated. exact: whether `lags` reads all files to count what waits.
        """
        self._directory, self._settle, self._clock = directory, settle, clock
        self._passed_over, self._exact = passed_over, exact
        self._counted: dict[str, int] = {}
        self._files: dict[Path, McapFile] = {}
        self._by_source: dict[str, McapFile] = {}
        self._done: set[str] = set()
        self._retry: set[Path] = set()
        self._unreadable: dict[Path, str] = {}
        self._told: dict[Path, tuple[str, str]] = {}
        self._lock = threading.Lock()

    def sources(self) -> Sequence[str]:
        """Return the files that may have entries to read, and the damaged chunks that have become readable, by path."""
        with self._lock:
            self._look()
            return tuple(source for source in self._by_source if source not in self._done)

    def read(self, source: str, after: int, limit: int) -> LogBatch:
        """Return up to `limit` entries of a source behind a position. Raises Unavailable for a file that has gone."""
        with self._lock:
            file = self._by_source.get(source)
            if file is None:
                raise Unavailable(f"the file of {source} is gone")
            _, _, chunk = source.partition("@")
            if chunk:
                return self._read_again(file, source, int(chunk), after, limit)
            try:
                batch = file.read(after, limit)
            except OSError as error:
                raise Unavailable(f"{file.path} cannot be read: {said(error)}") from error
            if batch.position == after and file.stop is not None:
                self._done.add(source)
            if any(entry.problem for entry in batch.entries) or (source in self._done and file.worth_a_retry):
                self._retry.add(file.path)
            return batch

    def committed(self, source: str, position: int) -> None:
        """Keep nothing of it: offsets are the reader's."""

    def lags(self, offset: Callable[[str], int]) -> Sequence[SourceLag]:
        """Return how far each file is behind, as far as it is known, and what keeps the rest from being read."""
        now = self._clock()
        if self._exact:
            self._count(offset)
        lags = [self._lag(file, offset, now) for file in list(self._files.values())]
        unreadable = sorted(self._unreadable.items())
        return lags + [SourceLag(self._name(path), LABEL, 0, 0, "unreadable", why) for path, why in unreadable]

    def tail(self, count: int) -> Sequence[LogEntry]:
        """Return the last entries by time, of the files changed last; parts that cannot be read are left out."""
        found: list[LogEntry] = []
        with self._lock:
            self._look()
            for file in sorted(self._files.values(), key=lambda file: -file.signature.modified_ns):
                if len(found) >= count:
                    break
                found += [entry for entry in _all_of(file) if not entry.problem][-count:]
        return sorted(found, key=lambda entry: entry.appended)[-count:]

    def close(self) -> None:
        """Keep nothing open between reads."""

    def _count(self, offset: Callable[[str], int]) -> None:
        for source in self.sources():
            file = self._by_source[source]
            if "@" not in source:
                self._counted[source] = sum(len(batch.entries) for batch in _batches(file, offset(source)))

    def _look(self) -> None:
        """Find out which files are new, changed or gone. Raises Unavailable where the directory is."""
        found = files_below(self._directory)
        for path in self._files.keys() - found.files.keys():
            events.info("file_gone path=%s", path)
            del self._files[path]
            self._told.pop(path, None)
        for path, signature in found.files.items():
            known = self._files.get(path)
            if known is not None and known.signature == signature and path not in self._retry:
                self._tell(known)  # what was growing may count as truncated now
                continue
            self._retry.add(path)  # until it is known what has become of it: disk or store may be away
            try:
                if known is None or (known.signature != signature and not known.change(signature)):
                    self._files[path] = McapFile(path, signature)
                self._refresh(self._files[path])
                self._retry.discard(path)
            except FileNotFoundError:
                continue  # the next look finds it gone
            except OSError as error:
                found.unreadable[path] = said(error)
        for path, why in found.unreadable.items():
            if self._unreadable.get(path) != why:
                events.warning("file_state path=%s state=unreadable problem=%s", path, why)
        self._unreadable = found.unreadable
        self._retry &= found.files.keys()
        self._by_source = dict(self._named())

    def _refresh(self, file: McapFile) -> None:
        """Read a file on, since it is new or has changed; what was passed over of it too."""
        if file.identity is not None:
            source = _source(file)
            if self._passed_over is not None:
                file.retry(self._passed_over(source))
            self._done -= {source, *(f"{source}@{at}" for at in file.passed)}
        self._tell(file)

    def _named(self) -> Iterator[tuple[str, McapFile]]:
        best: dict[str, McapFile] = {}
        for _, file in sorted(self._files.items()):
            if file.identity is not None:
                other = best.get(file.identity)
                if other is None or other.signature.size < file.signature.size:
                    best[file.identity] = file
        for file in best.values():
            yield _source(file), file
            for at, entries in file.passed.items():
                if entries is not None:
                    yield f"{_source(file)}@{at}", file

    def _read_again(self, file: McapFile, source: str, chunk: int, after: int, limit: int) -> LogBatch:
        waiting = [entry for entry in file.passed.get(chunk) or () if entry.position > after]
        if not waiting:
            self._done.add(source)
            return LogBatch((), after)
        entries = tuple(waiting[:limit])
        return LogBatch(entries, entries[-1].position)

    def _lag(self, file: McapFile, offset: Callable[[str], int], now: datetime) -> SourceLag:
        applied, waiting = 0, 0
        if file.identity is not None:
            source = _source(file)
            complete = source in self._done and file.stop is Stop.COMPLETE
            applied = (file.end() or 0) if complete else offset(source)
            waiting = 0 if self._is_copy(file) else self._counted.get(source, file.known(applied))
            for at, entries in list(file.passed.items()):
                name = f"{source}@{at}"
                if entries and name not in self._done:
                    behind = offset(name)
                    waiting += sum(entry.position > behind for entry in entries)
        state, problem = self._state(file, now)
        return SourceLag(self._name(file.path), LABEL, applied, waiting, state, problem)

    def _name(self, path: Path) -> str:
        return str(path.relative_to(self._directory))

    def _state(self, file: McapFile, now: datetime) -> tuple[str, str]:
        """Return what a file is in a word, and what keeps the rest from being read."""
        damaged = sum(entries is None for entries in file.passed.values())
        if self._is_copy(file):
            return "copy", "it begins as another file does that is as long or longer, which is read"
        if damaged:
            return "corrupt", f"chunks that cannot be read: {damaged}"
        if file.foreign:
            return "foreign", file.why
        match file.stop:
            case Stop.UNFINISHED | Stop.BROKEN:
                modified = datetime.fromtimestamp(file.signature.modified_ns / 1e9, now.tzinfo)
                return ("growing" if now - modified < self._settle else "truncated"), file.why
            case None:
                return "waiting", ""
            case stop:
                return stop.value, file.why

    def _is_copy(self, file: McapFile) -> bool:
        if file.identity is None:
            return False
        return self._by_source.get(_source(file), file) is not file

    def _tell(self, file: McapFile) -> None:
        """Log what a file has become."""
        told = self._state(file, self._clock())
        if told != self._told.get(file.path):
            self._told[file.path] = told
            level = logging.WARNING if told[1] and told[0] != "growing" else logging.INFO
            events.log(level, "file_state path=%s state=%s problem=%s", file.path, *told)


def _source(file: McapFile) -> str:
    return f"mcap-{file.identity}"


def _all_of(file: McapFile) -> list[LogEntry]:
    return [entry for batch in _batches(file, 0) for entry in batch.entries] if file.identity is not None else []


def _batches(file: McapFile, after: int) -> Iterator[LogBatch]:
    while True:
        batch = file.read(after, limit=1000)
        if batch.position == after:
            return
        yield batch
        after = batch.position
