"""Frames that could not be scored, and when they are tried again."""

from datetime import datetime, timedelta

__all__ = ["FIRST_WAIT", "LONGEST_WAIT", "PutOff"]

FIRST_WAIT, LONGEST_WAIT = timedelta(minutes=1), timedelta(hours=1)


class PutOff:
    """Those that are at fault wait for the next generation; those that could not be read, for a disk may be away, a while.

    All that could not be read come back together, after a wait that doubles each time: whatever stays away holds up nothing.
    """

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Forget all, as the next generation does."""
        self._at_fault: set[str] = set()
        self._unread: set[str] = set()
        self._wait = FIRST_WAIT
        self._until: datetime | None = None

    def until_cleared(self, frame_id: str) -> None:
        """Put a frame off that is at fault itself."""
        self._at_fault.add(frame_id)

    def a_while(self, frame_id: str, now: datetime) -> None:
        """Put a frame off that could not be read; the first of them decides when all come back."""
        if self._until is None:
            self._until = now + self._wait
        self._unread.add(frame_id)

    def come_back(self, now: datetime) -> bool:
        """Let those that could not be read be tried again, if their time has come; return whether so."""
        if self._until is None or now < self._until:
            return False
        self._unread.clear()
        self._until = None
        self._wait = min(2 * self._wait, LONGEST_WAIT)
        return True

    def __contains__(self, frame_id: str) -> bool:
        return frame_id in self._at_fault or frame_id in self._unread

    def __len__(self) -> int:
        return len(self._at_fault) + len(self._unread)
