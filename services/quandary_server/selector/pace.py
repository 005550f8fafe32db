"""How fast the selector's loops go."""

from dataclasses import dataclass
from datetime import timedelta


@dataclass(frozen=True)
class Pace:
    """Items per transaction, frames read and scored at once, and the wait when there is nothing to do."""

    batch: int
    in_flight: int
    poll: timedelta


BESIDE_CALLS = 3
"""Threads that use the store beside calls and loops: the election's, the group's, and a scrape's."""


def threads_at_once(connections: int, cores: int) -> int:
    """Return how many threads run what calls and loops ask of the store: so few that none waits long for a connection.

    Threads come to their turn in order, connections do not: whoever gives one back may get the next, and a loop may starve.
    """
    return max(min(32, cores + 4, connections - BESIDE_CALLS), 1)
