"""How much `quandary bench swap` measures with."""

from dataclasses import dataclass, replace

from quandary_server.bench.scale import check_scale


@dataclass(frozen=True)
class Sizes:
    """In each topology: windows with swaps, and as many without. window_s: how long each is, in seconds.

    promotions, rollbacks: in each window with swaps. packed_rate, spread_rate: calls a second, a third of what two cores can
    serve. answers: at the least, over both topologies.
    """

    repeats: int = 5
    promotions: int = 4
    rollbacks: int = 1
    window_s: float = 14.0
    packed_rate: float = 140.0
    spread_rate: float = 40.0
    answers: int = 20_000

    def scaled(self, share: float) -> "Sizes":
        """Return this share of windows and answers, a window at least. Raises InvalidArgument unless 0 < share <= 1."""
        check_scale(share)
        repeats, answers = max(round(self.repeats * share), 1), round(self.answers * share)
        return replace(self, repeats=repeats, answers=answers)


@dataclass(frozen=True)
class Window:
    """From one time to another, in seconds of time.monotonic(), with swaps or without."""

    begun: float
    ended: float
    swapping: bool
