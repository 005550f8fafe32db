"""A log that several selectors of a group read together: each its share, and that of the dead."""

import logging
import threading
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

from quandary.errors import QuandaryError
from quandary_server.selector.shares import share_of
from quandary_server.silence import Silence
from quandary_server.storage.frame_log import FrameLog, LogBatch, LogEntry, SourceLag
from quandary_server.storage.members import Members

__all__ = ["Membership", "SharedLog"]

log = logging.getLogger(__name__)


class Membership:
    """Says in the store that a selector is alive, from a thread of its own, and knows who else is.

    A member under the name of one that died takes its place at once.
    """

    def __init__(self, members: Members, group: str, member: str, clock: Callable[[], datetime], lasts: timedelta) -> None:
        self._members, self._group, self.member = members, group, member
        self._clock, self._lasts = clock, lasts
        self._over = threading.Event()
        self._alive: Sequence[str] = ()
        self._silence, self._silent = Silence(lasts), dict[str, datetime]()
        self._thread = threading.Thread(target=self._beat_on, name="membership", daemon=True)

    def join(self) -> None:
        """Join the group; raises Unavailable."""
        self._beat()
        self._thread.start()

    def alive(self) -> Sequence[str]:
        """Return the members known to be alive."""
        return self._alive

    def leave(self) -> None:
        """Leave the group."""
        self._over.set()
        self._thread.join()
        try:
            self._members.leave(self._group, self.member)
        except QuandaryError as error:
            log.warning("group_not_left group=%s problem=%s", self._group, error)

    def _beat(self) -> None:
        now = self._clock()
        found = self._members.beat(self._group, self.member, now=now, lasts=self._lasts, silent=self._silent)
        self._silent = self._silence.among(found)
        alive = tuple(found)
        if alive != self._alive:
            log.info("group_changed group=%s members=%s", self._group, ",".join(alive))
        self._alive = alive

    def _beat_on(self) -> None:
        while not self._over.wait(self._lasts.total_seconds() / 3):
            try:
                self._beat()
            except QuandaryError as error:
                log.warning("group_not_told group=%s problem=%s", self._group, error)
            except Exception:  # whatever it is: whose heart stands still would never learn who else has died
                log.exception("group_not_told group=%s", self._group)


class SharedLog:
    """A log of which only this member's share is read; the rest passes through.

    even: the sources are the same for all members, so that shares can be even (`share_of`).
    """

    def __init__(self, fleet_log: FrameLog, membership: Membership, *, even: bool) -> None:
        self._log, self._membership, self._even = fleet_log, membership, even

    def sources(self) -> Sequence[str]:
        """Return this member's share of the sources."""
        return share_of(self._membership.member, self._membership.alive(), self._log.sources(), even=self._even)

    def read(self, source: str, after: int, limit: int) -> LogBatch:
        """Read as the log does."""
        return self._log.read(source, after, limit)

    def committed(self, source: str, position: int) -> None:
        """Pass it on."""
        self._log.committed(source, position)

    def lags(self, offset: Callable[[str], int]) -> Sequence[SourceLag]:
        """Return how far all sources are behind, this member's or not."""
        return self._log.lags(offset)

    def tail(self, count: int) -> Sequence[LogEntry]:
        """Return the last entries of the log."""
        return self._log.tail(count)

    def close(self) -> None:
        """Leave the group and close the log."""
        self._membership.leave()
        self._log.close()
