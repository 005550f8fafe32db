"""Whether a call may wait for its turn, and when one that may not is to come back."""

from dataclasses import dataclass

LONGEST_RETRY_S = 30.0


@dataclass(frozen=True)
class QueueLimit:
    """How long a call may wait: so many times as long as itself takes to compute, `least_s` seconds in any case."""

    service_times: float
    least_s: float

    def seconds(self, work_s: float) -> float:
        """Return the limit for a call that takes `work_s` seconds."""
        return max(self.service_times * work_s, self.least_s)


class Admission:
    """Admits calls up to a limit of waiting time, and spreads those it turns away over the time to come.

    Each that is turned away is told a time of its own, behind those of the others: told the same one, all would come at once,
    and all but one in vain. Until those times are over, newcomers may fill half of the queue only: they would take the places
    of those who waited. Nobody is held to come back: where nothing waits any more, all that was told is forgotten.
    Time is an argument, in seconds of one monotonic clock.
    """

    def __init__(self, limit: QueueLimit) -> None:
        self._limit = limit
        self._told_until = 0.0

    def retry_after(self, now: float, work_s: float, wait_s: float, *, returning: bool) -> float | None:
        """Return None for a call that may wait `wait_s` seconds, else the seconds after which it is to come back.

        work_s: what it takes itself. returning: it was turned away before.
        """
        if wait_s <= 0.0:
            self._told_until = now
        limit_s = self._limit.seconds(work_s)
        others_first = not returning and self._told_until > now
        if wait_s <= (limit_s / 2 if others_first else limit_s):
            return None
        start = max(now + wait_s, self._told_until)
        self._told_until = min(start + work_s, now + LONGEST_RETRY_S)
        # it comes back when half of the queue is still before it, so that the queue does not run empty
        return max(start - now - limit_s / 2, limit_s / 4)
