"""Where a task stands: its state, its lease and the leases that failed."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

__all__ = ["Lease", "TaskState", "TaskStatus"]


class TaskState(StrEnum):
    """State of a task."""

    WAITING = "waiting"
    LEASED = "leased"
    ACKNOWLEDGED = "acknowledged"
    SKIPPED = "skipped"
    DEAD_LETTER = "dead_letter"


@dataclass(frozen=True, slots=True)
class Lease:
    """A right to work on a task until `expires`, itself excluded. The token fences: no later lease has the same."""

    token: str
    holder: str
    expires: datetime


@dataclass(frozen=True, slots=True)
class TaskStatus:
    """What the state machine knows of a task.

    lease: set while LEASED. failed_leases: leases that expired. closed_by: the token that acknowledged or skipped it last,
    so that the same again changes nothing; empty once another lease is given, and where an import closed it.
    """

    state: TaskState = TaskState.WAITING
    lease: Lease | None = None
    failed_leases: int = 0
    closed_by: str = ""

    def expired(self, now: datetime) -> bool:
        """Return whether it is under a lease that has run out, whether or not anybody noticed yet."""
        return self.lease is not None and now >= self.lease.expires
