"""Who is silent, whatever time others write: clocks are set back, and the times that they gave before are not."""

import time
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta

__all__ = ["Silence"]


class Silence:
    """Notices what nobody has renewed for longer than it lasts.

    A member whose clock was an hour ahead when it died would be alive for another hour by the time that it wrote. lasts: how
    long without being renewed. clock: seconds that never go back, of this process alone.
    """

    def __init__(self, lasts: timedelta, clock: Callable[[], float] = time.monotonic) -> None:
        self._lasts_s, self._clock = lasts.total_seconds(), clock
        self._seen: dict[str, tuple[datetime, float]] = {}

    def among(self, found: Mapping[str, datetime]) -> dict[str, datetime]:
        """Return which of what was found now, each with the end that stands there, has had that same end for too long."""
        at = self._clock()
        before = self._seen
        self._seen = {n: before[n] if n in before and before[n][0] == end else (end, at) for n, end in found.items()}
        return {name: end for name, (end, since) in self._seen.items() if at - since > self._lasts_s}
