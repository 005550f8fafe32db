"""What was rejected of a log goes on to where its producers look: a dead-letter topic.

The store's table of rejected entries is the outbox: an entry gets there in the transaction that passes it, and stays. What
was sent on is an offset of its own, moved after the sending. So nothing is lost to a crash, and after one a letter may come
twice, with the same origin in its headers.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Protocol

from quandary.errors import Aborted, Unavailable
from quandary_server.selector.outages import Outages
from quandary_server.storage.store import Store
from quandary_server.storage.task_values import RejectedEntry

__all__ = ["DeadLetterBox", "DeadLetters"]

log = logging.getLogger(__name__)

BATCH = 100


class DeadLetterBox(Protocol):
    """Takes letters."""

    def send(self, source: str, letters: Sequence[RejectedEntry]) -> None:
        """Send the letters of a source; they have arrived on return. Raises Unavailable."""


class DeadLetters:
    """Sends rejected entries on, each source from where it stopped, beside the reading of the log: a topic that takes no
    letters holds up no frame.
    """

    def __init__(self, box: DeadLetterBox, store: Store, clock: Callable[[], datetime], sent: Callable[[int], None]) -> None:
        self._box, self._store, self._clock, self._sent = box, store, clock, sent
        self._sources: set[str] = set()
        self._due: set[str] = set()
        self._outages = Outages()

    def reads(self, sources: Sequence[str]) -> None:
        """Hear which sources are read here now: of one that is new here, whoever read it before may have left letters."""
        self._due &= set(sources)
        self._due |= set(sources) - self._sources
        self._sources = set(sources)

    def due(self, source: str) -> None:
        """Hear that something of a source was rejected."""
        self._due.add(source)

    async def run(self, every: timedelta) -> None:
        """Send on what is due, until cancelled; looks for it as often as `every`."""
        while True:
            for source in sorted(self._due):
                try:
                    await asyncio.to_thread(self.forward, source)
                except Aborted as error:
                    log.warning("letters_sent_by_another source=%s problem=%s", source, error)
                except Unavailable as error:
                    self._outages.tell("dead_letters_wait", source, error)
            await asyncio.sleep(every.total_seconds())

    def forward(self, source: str) -> None:
        """Send on what of a source was rejected and not sent.

        Raises Unavailable, Aborted where another selector does so too; it stays due then.
        """
        self._due.discard(source)  # what is rejected from here on makes it due again
        try:
            self._send(source)
        except BaseException:
            self._due.add(source)
            raise

    def _send(self, source: str) -> None:
        outbox = f"dead-letters/{source}"
        while True:
            after = self._store.intake.offset(outbox)
            letters = self._store.intake.rejected_behind(source, after, BATCH)
            if not letters:
                return
            self._box.send(source, letters)
            self._store.intake.apply([], log=outbox, after=after, position=letters[-1].position, now=self._clock())
            self._sent(len(letters))
