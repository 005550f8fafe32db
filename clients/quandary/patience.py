"""How long to wait before trying again. Time is an argument, in seconds of one monotonic clock; chance is one too."""

from collections.abc import Callable

from quandary.errors import Overloaded, QuandaryError, Unavailable

__all__ = ["FACTOR", "FIRST_PAUSE_S", "LONGEST_PAUSE_S", "Patience", "Resumption"]

# Of what cannot be reached: pauses of 0.1, 0.4, 1.6 and then 5 s, each give or take a fifth.
FIRST_PAUSE_S, FACTOR, LONGEST_PAUSE_S, SPREAD = 0.1, 4.0, 5.0, 0.2

# Of what is overloaded: as it says, and up to so much more, which doubles with each refusal.
FIRST_MORE_S, LONGEST_MORE_S = 0.01, 1.0

GROWTHS = 10
"""Pauses do not grow beyond so many; they have reached their longest long before."""

Chance = Callable[[], float]
"""Returns random numbers in [0, 1), as random.random does."""


class Patience:
    """Of a call that is refused as overloaded: it comes back when it is told to, while its time allows. deadline: its end."""

    def __init__(self, deadline: float, chance: Chance) -> None:
        self._deadline, self._chance = deadline, chance
        self._refusals = 0

    def left_s(self, now: float) -> float:
        """Return the seconds that are left."""
        return self._deadline - now

    def pause_s(self, refused: Overloaded, now: float) -> float:
        """Return the pause before the next attempt; raises `refused` where it names no time, or a later one than is left."""
        if refused.retry_after is None:
            raise refused
        more_s = min(FIRST_MORE_S * 2.0 ** min(self._refusals, GROWTHS), LONGEST_MORE_S)
        self._refusals += 1
        pause_s = refused.retry_after.total_seconds() + more_s * self._chance()
        if pause_s >= self.left_s(now):
            raise refused
        return pause_s


class Resumption:
    """Of a stream that breaks: it is taken up again after pauses that grow, until no answer has come for `limit_s`.

    deadline: the end of the whole stream, None for none.
    """

    def __init__(self, limit_s: float, deadline: float | None, chance: Chance) -> None:
        self._limit_s, self._deadline, self._chance = limit_s, deadline, chance
        self._breaks = 0
        self._broken_at = 0.0

    def left_s(self, now: float) -> float | None:
        """Return the seconds that are left to the stream, None where they are unlimited."""
        return None if self._deadline is None else self._deadline - now

    def note_answer(self) -> None:
        """Take note that the stream makes progress."""
        self._breaks = 0

    def pause_s(self, broken: QuandaryError, now: float) -> float:
        """Return the pause before the stream is taken up again; raises `broken` where it is final, or time is over."""
        retry_after = broken.retry_after if isinstance(broken, Overloaded) else None
        if not isinstance(broken, Unavailable) and retry_after is None:
            raise broken
        if not self._breaks:
            self._broken_at = now
        pause_s = min(FIRST_PAUSE_S * FACTOR ** min(self._breaks, GROWTHS), LONGEST_PAUSE_S) * (
            1 + SPREAD * (2 * self._chance() - 1)
        )
        pause_s = max(pause_s, retry_after.total_seconds() if retry_after else 0.0)
        self._breaks += 1
        until = self._broken_at + self._limit_s
        if now + pause_s >= (until if self._deadline is None else min(until, self._deadline)):
            raise broken
        return pause_s
