"""How many replicas: by the share of time that their compute threads work.

Serve's own policy counts calls, and an idle stream is one all its life. A share of time suits every detector and machine.
"""

from typing import Any, Protocol

BUSY = "busy"


class Busy:
    """The share of its threads' time that a replica has worked since it was last asked."""

    def __init__(self, threads: int, now: float) -> None:
        self._threads, self._since = threads, now
        self._seconds = 0.0

    def add(self, seconds: float) -> None:
        """Add work that is done."""
        self._seconds += seconds

    def share(self, now: float) -> float:
        """Return the share from the last time until now; a long request counts where it ends, so it may exceed 1."""
        elapsed = max(now - self._since, 1e-6)
        share = self._seconds / (elapsed * self._threads)
        self._seconds, self._since = 0.0, now
        return share


class Context(Protocol):
    """What is used of Serve's AutoscalingContext."""

    target_num_replicas: int

    @property
    def aggregated_metrics(self) -> dict[str, dict[Any, float]]:
        """Means over the window, by metric and replica."""


class ByBusyShare:
    """Serve's autoscaling policy: as many replicas as let each work for the target share of its time.

    Bounds and delays are Serve's. A replica that has not reported yet counts as idle.
    """

    def __init__(self, target: float) -> None:
        self._target = target

    def __call__(self, context: Context) -> tuple[float, dict[str, Any]]:
        """Return the number of replicas wanted, and no state."""
        shares = (context.aggregated_metrics or {}).get(BUSY)
        if not shares:
            return context.target_num_replicas, {}
        return sum(shares.values()) / self._target, {}
