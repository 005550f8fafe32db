"""How many calls of a client are under way at once, where the service cannot serve as many as come."""

import math
from collections import deque
from collections.abc import Callable
from threading import Lock
from typing import Generic, Protocol, TypeVar

__all__ = ["Throttle"]

GROWTH = 0.5
"""By how much the limit grows while as many answers come as it lets go: in every other such round one tries for more room."""


class Settable(Protocol):
    """What is used of threading.Event and asyncio.Event."""

    def set(self) -> None:
        """Wake who waits for it."""


Turn = TypeVar("Turn", bound=Settable)


class Throttle(Generic[Turn]):
    """Lets all calls go, until some are refused as overloaded: then only as many as were not, the others in their order.

    With every answer the limit grows a little, so that room that comes is found (additive increase, Chiu and Jain 1989). Calls
    that wait here cost the service nothing; sent, nearly all would be refused and sent again. It waits for nothing itself:
    `turn` makes what a caller that has to wait waits for.
    """

    def __init__(self, turn: Callable[[], Turn]) -> None:
        self._turn, self._lock = turn, Lock()
        self._limit = math.inf
        self._out = self._refused = 0
        self._waiting: deque[Turn] = deque()

    def ask(self) -> Turn | None:
        """Return None to a call that goes now, else what is set when it may go."""
        with self._lock:
            if not self._waiting and self._out + 1 <= self._limit:
                self._out += 1
                return None
            self._waiting.append(turn := self._turn())
            return turn

    def give_up(self, turn: Turn) -> None:
        """Take note of a call that does not go: it waited too long, whether its turn came meanwhile or not."""
        with self._lock:
            if turn in self._waiting:
                self._waiting.remove(turn)
            else:
                self._out -= 1
                self._let_go()

    def note_refused(self) -> None:
        """Take note of a call that was refused and waits to come back."""
        with self._lock:
            self._refused += 1
            self._limit = max(self._out - self._refused, 1)

    def note_returning(self) -> None:
        """Take note of a call that comes back."""
        with self._lock:
            self._refused -= 1

    def note_over(self, *, answered: bool) -> None:
        """Take note of a call that is over."""
        with self._lock:
            self._out -= 1
            if answered:
                self._limit += GROWTH / self._limit
            self._let_go()

    def _let_go(self) -> None:
        while self._waiting and self._out + 1 <= self._limit:
            self._out += 1
            self._waiting.popleft().set()
