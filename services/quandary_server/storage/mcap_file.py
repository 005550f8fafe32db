"""One file of a watched MCAP directory: what it is, and what of it waits."""

import os
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from quandary_server.storage.frame_log import LogBatch, LogEntry
from quandary_server.storage.mcap_cursor import INDEX_BITS, McapCursor, Stop, position_of
from quandary_server.storage.mcap_folder import Signature
from quandary_server.storage.mcap_records import data_end_at, framed_at, identity_of, summary_of

__all__ = ["McapFile"]


@dataclass
class McapFile:
    """A file as far as it was read. identity: None while it has nothing to be known by.

    passed: by the byte of each chunk that was passed over because it could not be read, its entries now; None: it still
    cannot be.
    """

    path: Path
    signature: Signature
    identity: str | None = None
    records: int | None = None
    passed: dict[int, list[LogEntry] | None] = field(default_factory=dict)
    _cursor: McapCursor = field(init=False)
    _end: int | None = None
    _waiting: deque[LogEntry] = field(default_factory=deque)
    _behind: int = 0
    _tried_at: int = 0

    def __post_init__(self) -> None:
        self._cursor = McapCursor(self.path, "")
        with self.path.open("rb") as file:
            self.identity = identity_of(file, self.signature.size)
            self._restart(file)

    def change(self, signature: Signature) -> bool:
        """Take note that the file has changed; return whether it still begins as it did. If not, it is another one."""
        with self.path.open("rb") as file:
            same = self.identity is not None and identity_of(file, signature.size) == self.identity
            if same:
                self._look_at_end(file, signature.size)
                self._cursor.look_again()
                self.signature = signature
        return same

    @property
    def stop(self) -> Stop | None:
        """Why the reading does not go on; None while it does."""
        return self._cursor.stop

    @property
    def why(self) -> str:
        """What keeps the rest from being read; empty for nothing."""
        if self.foreign and self.stop is Stop.COMPLETE:
            return f"it has no frame records; its schemas: {', '.join(self._cursor.schema_names()) or 'none'}"
        if self._cursor.at > self.signature.size:
            return f"it has shrunk to {self.signature.size} bytes, {self._cursor.at} were read"
        return self._cursor.why

    @property
    def foreign(self) -> bool:
        """Whether it is no MCAP file, or a complete one without frame records."""
        without = self.stop is Stop.COMPLETE and self._cursor.informed and not self._cursor.has_records
        return self.stop is Stop.FOREIGN or without

    def end(self) -> int | None:
        """Return the position behind the last entry, once the file is finished."""
        return None if self._end is None else position_of(self._end)

    def known(self, applied: int) -> int:
        """Return how many entries behind the applied position are known to wait, without reading on."""
        end = self.end()
        if end is not None and applied >= end:
            return 0
        if applied == 0 and self.records is not None:
            return self.records
        return sum(entry.position > applied for entry in list(self._waiting))

    def read(self, after: int, limit: int) -> LogBatch:
        """Return up to `limit` entries behind a position, and how far that reaches; none where another file took its place.

        Raises OSError.
        """
        end = self.end()
        if end is not None and after >= end:
            self._waiting.clear()
            self._cursor.complete()
            return LogBatch((), after)
        with self.path.open("rb") as file:
            if not self._is(file):
                return LogBatch((), after)  # whoever looks next finds it changed
            if after < self._behind:  # the store is an older one
                self._restart(file)
            while self._waiting and self._waiting[0].position <= after:
                self._waiting.popleft()
            while len(self._waiting) < limit:
                found = self._cursor.step(file, self.signature.size, after)
                if found is None:
                    break
                self._waiting.extend(found)
        self._behind = after

        entries = tuple(self._waiting)[:limit]
        all_of_it = self._cursor.stop is Stop.COMPLETE and len(entries) == len(self._waiting)
        position = entries[-1].position if entries else after
        return LogBatch(entries, max(position, self.end() or 0) if all_of_it else position)

    def retry(self, positions: tuple[int, ...]) -> None:
        """Try again what was passed over at these positions."""
        bytes_ = {position >> INDEX_BITS for position in positions if position == position_of(position >> INDEX_BITS)}
        with self.path.open("rb") as file:
            self.passed = {at: self._entries_at(file, at) for at in sorted(bytes_)}
        self._tried_at = self._cursor.at

    @property
    def worth_a_retry(self) -> bool:
        """Whether more is known of the file than when what was passed over was tried last."""
        return None in self.passed.values() and self._tried_at != self._cursor.at

    def _is(self, file: BinaryIO) -> bool:
        """Return whether an open file is what was looked at, grown at the most."""
        found = Signature.of(os.fstat(file.fileno()))
        if found == self.signature:
            return True
        return found.size >= self.signature.size and identity_of(file, found.size) == self.identity

    def _entries_at(self, file: BinaryIO, at: int) -> list[LogEntry] | None:
        framed = framed_at(file, at, self.signature.size)
        if framed is None or framed.end > self.signature.size:
            return None
        found = self._cursor.entries_of_chunk(framed.read(file), at)
        return None if any(entry.problem for entry in found) else found

    def _restart(self, file: BinaryIO) -> None:
        self._cursor = McapCursor(self.path, self.identity or "")
        self._waiting.clear()
        self._behind = 0
        self._look_at_end(file, self.signature.size)
        if self.identity is None:
            while self._cursor.step(file, self.signature.size, 0) is not None:
                pass

    def _look_at_end(self, file: BinaryIO, size: int) -> None:
        self._end = data_end_at(file, size)
        summary = None if self._end is None else summary_of(file)
        if summary is None or self._end is None:
            return
        self._cursor.learn(summary, self._end)
        if summary.statistics is not None:
            counts = summary.statistics.channel_message_counts
            self.records = sum(count for channel, count in counts.items() if self._cursor.has_records_in(channel))
