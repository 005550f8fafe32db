"""Windows of equal length, one with swaps and one without, over and over, while callers call."""

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import cycle

from quandary_server.bench.swap.sizes import Sizes, Window
from quandary_server.clock import now
from quandary_server.registry.directory import Registry
from quandary_server.trainer.promotion import promote, roll_back

TIMEOUT = timedelta(seconds=60)
SETTLE_S = 0.5
"""Between windows: no answer of one may wait for what was done in another."""


@dataclass
class Told:
    """What was done: windows; when which generation was current for all, by the roster; seconds that moves took."""

    windows: list[Window] = field(default_factory=list)
    settled: list[tuple[float, float, str]] = field(default_factory=list)
    promoted_s: list[float] = field(default_factory=list)
    back_s: list[float] = field(default_factory=list)


class Swapper:
    """Moves the pointer as the trainer does, through generations that are not in memory, and back.

    generations: all, at least four, the one that is current first.
    """

    def __init__(self, registry: Registry, generations: list[str]) -> None:
        self._registry = registry
        self._next: Iterator[str] = cycle(generations)
        self._current, self._since = next(self._next), time.monotonic()
        self.told = Told()

    def windows(self, sizes: Sizes, pair: int) -> None:
        """Have a window with swaps and one without, the latter first in every second pair."""
        length_s = sizes.window_s
        for swapping in (True, False) if pair % 2 == 0 else (False, True):
            time.sleep(SETTLE_S)
            begun = time.monotonic()
            if swapping:
                self._swap(sizes, begun)
            time.sleep(max(begun + length_s - time.monotonic(), 0.0))
            # a machine that is slower than planned for gets longer windows, of either kind
            length_s = time.monotonic() - begun
            self.told.windows.append(Window(begun, begun + length_s, swapping))

    def end(self) -> None:
        """Take note of how long the last generation was current."""
        self._moved(self._current, time.monotonic())

    def _swap(self, sizes: Sizes, begun: float) -> None:
        moves = [True] * sizes.promotions + [False] * sizes.rollbacks
        for k, forward in enumerate(moves):
            time.sleep(max(begun + k * sizes.window_s / len(moves) - time.monotonic(), 0.0))
            started = time.monotonic()
            if forward:
                generation = next(self._next)
                promote(self._registry, generation, self._registry.pointer(), mover="bench", timeout=TIMEOUT, clock=now)
            else:
                generation = roll_back(self._registry, None, mover="bench", timeout=TIMEOUT, clock=now)[0].generation
            (self.told.promoted_s if forward else self.told.back_s).append(time.monotonic() - started)
            self._moved(generation, started)

    def _moved(self, generation: str, started: float) -> None:
        self.told.settled.append((self._since, started, self._current))
        self._current, self._since = generation, time.monotonic()
