"""A replica and its callers in simulated time: who is admitted, and who comes back when, is decided by the real code."""

import heapq
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import count

import numpy as np

from quandary.errors import Overloaded
from quandary.patience import Patience
from quandary_server.scoring.admission import Admission

WORK_S = 0.010
TRIP_S = 0.0005
UNEVEN = 0.1
"""How much longer or shorter than expected the work may take."""

Event = Callable[[], None]


@dataclass
class Outcome:
    """Seconds of accepted attempts and of whole calls, and how many attempts were refused and calls given up."""

    attempts: list[float] = field(default_factory=list)
    calls: list[float] = field(default_factory=list)
    refused: int = 0
    given_up: int = 0

    def attempt(self, percent: float) -> float:
        """Return a percentile of accepted attempts, in times that the work takes."""
        return float(np.percentile(self.attempts, percent)) / WORK_S

    def call(self, percent: float) -> float:
        """Return a percentile of whole calls, in times that the work takes."""
        return float(np.percentile(self.calls, percent)) / WORK_S


class Simulation:
    """One compute thread, calls that each take WORK_S, for `seconds`."""

    def __init__(self, admission: Admission, seconds: float, seed: int = 0) -> None:
        self.now, self.outcome = 0.0, Outcome()
        self._admission, self._seconds = admission, seconds
        self._rng, self._order = random.Random(seed), count()
        self._events: list[tuple[float, int, Event]] = []
        self._queue: list[Event] = []
        self._busy_until: float | None = None

    def run(self) -> Outcome:
        """Let everything happen."""
        while self._events and self._events[0][0] <= self._seconds:
            self.now, _, event = heapq.heappop(self._events)
            event()
        return self.outcome

    def after(self, seconds: float, event: Event) -> None:
        """Have something happen later."""
        heapq.heappush(self._events, (self.now + seconds, next(self._order), event))

    def caller(self, begin_s: float, interval_s: float, timeout_s: float) -> None:
        """Add a caller with one call at a time, every interval; those that come while it waits are left out. 0: at once."""

        def ended() -> None:
            at = self.now if not interval_s else begin_s + interval_s * ((self.now - begin_s) // interval_s + 1)
            self.after(at - self.now, lambda: self.call(timeout_s, ended))

        self.after(begin_s, lambda: self.call(timeout_s, ended))

    def strangers(self, per_second: float, timeout_s: float) -> None:
        """Add calls that come at random whatever becomes of those before."""

        def arrive() -> None:
            self.call(timeout_s, lambda: None)
            self.after(self._rng.expovariate(per_second), arrive)

        arrive()

    def call(self, timeout_s: float, ended: Event) -> None:
        """Make a call, with as many attempts as it takes."""
        begun, patience = self.now, Patience(self.now + timeout_s, self._rng.random)

        def attempt(returning: bool) -> None:
            sent = self.now

            def arrived() -> None:
                retry_s = self._admission.retry_after(self.now, WORK_S, self._wait_s(), returning=returning)
                if retry_s is None:
                    self._queue.append(lambda: self.after(TRIP_S, answered))
                    self._work()
                else:
                    self.outcome.refused += 1
                    self.after(TRIP_S, lambda: refused(retry_s))

            def answered() -> None:
                self.outcome.attempts.append(self.now - sent)
                self.outcome.calls.append(self.now - begun)
                ended()

            self.after(TRIP_S, arrived)

        def refused(retry_s: float) -> None:
            try:
                pause_s = patience.pause_s(Overloaded("full", retry_after=timedelta(seconds=retry_s)), self.now)
            except Overloaded:
                self.outcome.given_up += 1
                ended()
            else:
                self.after(pause_s, lambda: attempt(True))

        attempt(False)

    def _wait_s(self) -> float:
        running = 0.0 if self._busy_until is None else max(self._busy_until - self.now, 0.0)
        return running + len(self._queue) * WORK_S

    def _work(self) -> None:
        if self._busy_until is not None or not self._queue:
            return
        done, self._busy_until = self._queue.pop(0), self.now + WORK_S

        def over() -> None:
            self._busy_until = None
            self._work()
            done()

        self.after(WORK_S * self._rng.uniform(1 - UNEVEN, 1 + UNEVEN), over)
