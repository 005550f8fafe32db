"""What lasts is told now and then: an outage of an hour is a hundred lines, not a hundred thousand."""

import time
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

__all__ = ["TOLD_AGAIN_S", "NowAndThen"]

TOLD_AGAIN_S = 30.0

What = TypeVar("What", bound=Hashable)


class NowAndThen(Generic[What]):
    """Says of each thing that may be told whether it is time to: once in 30 s. clock: seconds that never go back."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._told: dict[What, float] = {}

    def due(self, what: What) -> bool:
        """Return whether to tell it now, which counts as done."""
        at = self._clock()
        self._told = {told: then for told, then in self._told.items() if at - then < TOLD_AGAIN_S}
        due = what not in self._told
        self._told.setdefault(what, at)
        return due
