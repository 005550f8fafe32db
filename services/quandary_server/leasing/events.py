"""What can happen to a task. Every event carries the time; those of a labeller carry the lease's token."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import ClassVar

from quandary.errors import InvalidArgument
from quandary_server.leasing.order import PriorityBand
from quandary_server.leasing.status import Lease

__all__ = [
    "Acknowledge",
    "Action",
    "Event",
    "Expire",
    "Grant",
    "Import",
    "Pin",
    "Release",
    "Renew",
    "Reopen",
    "Requeue",
    "SetBand",
    "Skip",
]


class Action(StrEnum):
    """What an event does; the audit calls it by the same name."""

    LEASE = "lease"
    RENEW = "renew"
    ACKNOWLEDGE = "acknowledge"
    SKIP = "skip"
    RELEASE = "release"
    EXPIRE = "expire"
    IMPORT = "import"
    PIN = "pin"
    BAND = "band"
    REQUEUE = "requeue"


class Requeue(StrEnum):
    """Who may get a skipped task next."""

    NEVER = "never"
    ANYBODY = "anybody"
    OTHERS = "others"


@dataclass(frozen=True, slots=True)
class Grant:
    """A labeller is given the task. Raises InvalidArgument for a lease that is over before it begins."""

    action: ClassVar[Action] = Action.LEASE
    lease: Lease
    now: datetime

    def __post_init__(self) -> None:
        check_expires(self.lease.expires, self.now)


@dataclass(frozen=True, slots=True)
class Renew:
    """The holder needs longer: the lease now ends at `expires`. Raises InvalidArgument if that is over already."""

    action: ClassVar[Action] = Action.RENEW
    token: str
    expires: datetime
    now: datetime

    def __post_init__(self) -> None:
        check_expires(self.expires, self.now)


@dataclass(frozen=True, slots=True)
class Acknowledge:
    """The holder hands the labels in."""

    action: ClassVar[Action] = Action.ACKNOWLEDGE
    token: str
    now: datetime


@dataclass(frozen=True, slots=True)
class Skip:
    """The holder gives the task up: for good, or for anybody or others to try.

    others_left: whether there is anybody else who may get it.
    """

    action: ClassVar[Action] = Action.SKIP
    token: str
    now: datetime
    requeue: Requeue = Requeue.NEVER
    others_left: bool = True


@dataclass(frozen=True, slots=True)
class Release:
    """The holder gives the task back."""

    action: ClassVar[Action] = Action.RELEASE
    token: str
    now: datetime


@dataclass(frozen=True, slots=True)
class Expire:
    """The lease's time is over and somebody looks."""

    action: ClassVar[Action] = Action.EXPIRE
    now: datetime


@dataclass(frozen=True, slots=True)
class Import:
    """The frame's labels came in another way than under the task's lease."""

    action: ClassVar[Action] = Action.IMPORT
    now: datetime


@dataclass(frozen=True, slots=True)
class Pin:
    """The task is put in front of all that are not pinned, or back."""

    action: ClassVar[Action] = Action.PIN
    pinned: bool
    now: datetime


@dataclass(frozen=True, slots=True)
class SetBand:
    """The task is moved to a priority band."""

    action: ClassVar[Action] = Action.BAND
    band: PriorityBand
    now: datetime


@dataclass(frozen=True, slots=True)
class Reopen:
    """An operator has looked at a task that ended without labels, and lets it be leased again."""

    action: ClassVar[Action] = Action.REQUEUE
    now: datetime


Event = Grant | Renew | Acknowledge | Skip | Release | Expire | Import | Pin | SetBand | Reopen


def check_expires(expires: datetime, now: datetime) -> None:
    """Raise InvalidArgument unless a lease that ends then still runs now."""
    if expires <= now:
        raise InvalidArgument.of("lease_duration", expires - now, "> 0")
