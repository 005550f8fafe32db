"""What was rejected of a log goes on to where its producers look: a dead-letter topic.

The store's table of rejected entries is the outbox: an entry gets there in the transaction that passes it, and stays. What
was sent on is an offset of its own, moved after the sending. So nothing is lost to a crash, and after one a letter may come
twice, with the same origin in its headers.
"""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Protocol

from quandary_server.storage.store import Store
from quandary_server.storage.task_values import RejectedEntry

__all__ = ["DeadLetterBox", "DeadLetters"]

BATCH = 100


class DeadLetterBox(Protocol):
    """Takes letters."""

    def send(self, source: str, letters: Sequence[RejectedEntry]) -> None:
        """Send the letters of a source; they have arrived on return. Raises Unavailable."""


class DeadLetters:
    """Sends rejected entries on, each source from where it stopped."""

    def __init__(self, box: DeadLetterBox, store: Store, clock: Callable[[], datetime], sent: Callable[[int], None]) -> None:
        self._box, self._store, self._clock, self._sent = box, store, clock, sent
        self._caught_up: set[str] = set()

    def forward(self, source: str, rejected: int) -> None:
        """Send on what of a source was rejected and not sent, if there may be any: after a restart, or `rejected` just now.

        Raises Unavailable, Aborted where another selector does so too.
        """
        if not rejected and source in self._caught_up:
            return
        self._caught_up.discard(source)
        outbox = f"dead-letters/{source}"
        while True:
            after = self._store.intake.offset(outbox)
            letters = self._store.intake.rejected_behind(source, after, BATCH)
            if not letters:
                break
            self._box.send(source, letters)
            self._store.intake.apply([], log=outbox, after=after, position=letters[-1].position, now=self._clock())
            self._sent(len(letters))
        self._caught_up.add(source)
