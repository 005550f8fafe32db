"""The fleet log as the selector sees it: sources whose entries have ascending positions, whatever holds them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Protocol

from quandary.errors import TooLarge, Violation
from quandary.frames import check_identifier

__all__ = ["MAX_PAYLOAD_BYTES", "FrameLog", "FrameLogWriter", "LogBatch", "LogEntry", "LogRecord", "SourceLag", "time_of"]

MAX_PAYLOAD_BYTES = 2**20
MAX_NANOSECONDS = 2**63


@dataclass(frozen=True, slots=True)
class LogRecord:
    """What is published; payload: a serialised quandary.v1.FrameRecord. drive_id: records of one drive stay in one order.

    Raises InvalidArgument for a malformed id, TooLarge for more than 1 MiB: clouds are referred to, not logged.
    """

    frame_id: str
    payload: bytes = field(repr=False)
    drive_id: str = ""

    def __post_init__(self) -> None:
        check_identifier("frame_id", self.frame_id)
        if self.drive_id:
            check_identifier("drive_id", self.drive_id)
        if len(self.payload) > MAX_PAYLOAD_BYTES:
            violation = Violation("payload", f"{len(self.payload)} bytes", f"at most {MAX_PAYLOAD_BYTES} bytes")
            raise TooLarge(str(violation), violations=[violation])

    @property
    def key(self) -> str:
        """What decides where a log of several sources puts the record."""
        return self.drive_id or self.frame_id


@dataclass(frozen=True, slots=True)
class LogEntry:
    """A record in its source; positions are at least 1 and ascend, not always by 1.

    frame_id: empty where the log cannot tell. problem: what keeps this part of the log from being read, empty for a record.
    """

    position: int
    frame_id: str
    payload: bytes = field(repr=False)
    appended: datetime
    problem: str = ""


@dataclass(frozen=True, slots=True)
class LogBatch:
    """Entries in order, and the position up to which nothing else is in the source: where the offset goes."""

    entries: tuple[LogEntry, ...]
    position: int


@dataclass(frozen=True, slots=True)
class SourceLag:
    """How far a source is behind: the position applied, and how many entries are known to wait.

    source: as people know it. label: as metrics do; few. state: of a file, what it is. problem: what keeps the rest from being
    read, empty for nothing.
    """

    source: str
    label: str
    applied: int
    waiting: int
    state: str = ""
    problem: str = ""


def time_of(nanoseconds: int) -> datetime:
    """Return when an entry was appended; one whose producer has no such clock, before 1970 or after 2262, was so in 1970."""
    return datetime.fromtimestamp(nanoseconds / 1e9 if 0 <= nanoseconds < MAX_NANOSECONDS else 0, UTC)


class FrameLog(Protocol):
    """Where the selector reads. A frame may be published twice: producers retry, the store takes it once.

    Who reads keeps the offsets: positions are compared and moved in the transaction that applies a batch, so two readers
    of one source cannot both apply it, whatever a log believes about who reads what.
    """

    def sources(self) -> Sequence[str]:
        """Return the sources to read now, by the names that offsets have; a source made anew has another name."""

    def read(self, source: str, after: int, limit: int) -> LogBatch:
        """Return up to `limit` entries of a source behind a position; the batch ends at `after` where there is no news."""

    def committed(self, source: str, position: int) -> None:
        """Hear that all up to the position is applied and committed."""

    def lags(self, offset: Callable[[str], int]) -> Sequence[SourceLag]:
        """Return how far each source is behind; offset: the position applied of a source by name."""

    def tail(self, count: int) -> Sequence[LogEntry]:
        """Return the last entries of all sources together, the oldest of them first."""

    def close(self) -> None:
        """Let go of what is open."""


class FrameLogWriter(Protocol):
    """Where the fleet publishes its records."""

    def append(self, records: Sequence[LogRecord], *, now: datetime) -> None:
        """Append records. What was appended lasts once the writer is closed without an error."""

    def close(self) -> None:
        """Finish, so that all records can be read."""
