"""When a replica tries again to load what it could not: all of it is read anew each time."""

import time
from collections.abc import Callable

from quandary_server.registry.pointer import Pointer

LONGEST_PAUSE_S = 10.0


class Retries:
    """A move of the pointer that could not be followed is tried again after pauses that double; any other move at once."""

    def __init__(self, first_pause_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._first_pause_s, self._clock = first_pause_s, clock
        self._failed: Pointer | None = None
        self._pause_s, self._at = first_pause_s, 0.0

    def due(self, pointer: Pointer | None) -> bool:
        """Return whether the move is to be followed now."""
        return pointer is None or not pointer.same_move(self._failed) or self._clock() >= self._at

    def failed(self, pointer: Pointer | None) -> None:
        """Take note that the move could not be followed."""
        again = pointer is not None and pointer.same_move(self._failed)
        self._pause_s = min(self._pause_s * 2, LONGEST_PAUSE_S) if again else self._first_pause_s
        self._failed, self._at = pointer, self._clock() + self._pause_s

    def forget(self) -> None:
        """Have whatever is current be followed at once."""
        self._failed = None
