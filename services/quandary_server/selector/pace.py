"""How fast the selector's loops go."""

from dataclasses import dataclass
from datetime import timedelta


@dataclass(frozen=True)
class Pace:
    """Items per transaction, frames read and scored at once, and the wait when there is nothing to do."""

    batch: int
    in_flight: int
    poll: timedelta
