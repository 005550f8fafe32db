"""The state machine of a task: one table of what is allowed and one function that moves.

A lease is over at its `expires`, whether or not another took the task since: from then on its token is stale. So what a late
labeller hears does not hang on who else was at work. A release is no failure; only an expiry counts as one. Labels that come in
another way end a lease: its holder hears of them instead of replacing them.
"""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime

from quandary.errors import StaleLease, WrongState
from quandary_server.leasing.events import (
    Acknowledge,
    Action,
    Event,
    Expire,
    Grant,
    Import,
    Pin,
    Release,
    Renew,
    Reopen,
    Requeue,
    SetBand,
    Skip,
)
from quandary_server.leasing.status import TaskState, TaskStatus

__all__ = ["ENDED_WITHOUT_LABELS", "MAX_FAILED_LEASES", "TRANSITIONS", "move"]

MAX_FAILED_LEASES = 5

TRANSITIONS: Mapping[tuple[TaskState, Action], TaskState] = {
    (TaskState.WAITING, Action.LEASE): TaskState.LEASED,
    (TaskState.WAITING, Action.IMPORT): TaskState.ACKNOWLEDGED,
    (TaskState.LEASED, Action.IMPORT): TaskState.ACKNOWLEDGED,
    (TaskState.DEAD_LETTER, Action.IMPORT): TaskState.ACKNOWLEDGED,
    # Only here: nothing moves under a labeller, and what is closed has no place in the order.
    (TaskState.WAITING, Action.PIN): TaskState.WAITING,
    (TaskState.WAITING, Action.BAND): TaskState.WAITING,
    (TaskState.LEASED, Action.RENEW): TaskState.LEASED,
    (TaskState.LEASED, Action.ACKNOWLEDGE): TaskState.ACKNOWLEDGED,
    (TaskState.LEASED, Action.SKIP): TaskState.SKIPPED,  # or WAITING: anybody or others may try; DEAD_LETTER: none is left
    (TaskState.LEASED, Action.RELEASE): TaskState.WAITING,
    (TaskState.LEASED, Action.EXPIRE): TaskState.WAITING,  # or DEAD_LETTER, once max_failed_leases have expired
    # A labeller whose answer got lost asks again with the same token: nothing changes.
    (TaskState.ACKNOWLEDGED, Action.ACKNOWLEDGE): TaskState.ACKNOWLEDGED,
    (TaskState.SKIPPED, Action.SKIP): TaskState.SKIPPED,
    (TaskState.WAITING, Action.SKIP): TaskState.WAITING,
    (TaskState.DEAD_LETTER, Action.SKIP): TaskState.DEAD_LETTER,
    (TaskState.SKIPPED, Action.REQUEUE): TaskState.WAITING,
    (TaskState.DEAD_LETTER, Action.REQUEUE): TaskState.WAITING,
    (TaskState.WAITING, Action.REQUEUE): TaskState.WAITING,
}

ENDED_WITHOUT_LABELS = frozenset({TaskState.SKIPPED, TaskState.DEAD_LETTER})
"""States in which a task asks for no label any more though it has none: what was folded under it is asked for instead."""


def move(status: TaskStatus, event: Event, *, max_failed_leases: int = MAX_FAILED_LEASES) -> TaskStatus:
    """Return where the task stands after the event; equal to `status` where what ended a lease is repeated, and after a
    change of its place.

    Raises StaleLease if the event's token neither holds the task now nor closed it, WrongState if the state does not allow
    the event.
    """
    if isinstance(event, Renew | Acknowledge | Skip | Release):
        _check_token(status, event.token, event.now)
    target = TRANSITIONS.get((status.state, event.action))
    if target is None:
        raise WrongState(f"{event.action}: the task is {status.state}")

    match event:
        case Grant(lease=lease):
            return TaskStatus(target, lease, status.failed_leases)
        case Renew(expires=expires):
            assert status.lease is not None  # LEASED has one
            return replace(status, state=target, lease=replace(status.lease, expires=expires))
        case Acknowledge(token=token):
            return replace(status, state=target, lease=None, closed_by=token)
        case Skip():
            # without a lease it is a repetition, whatever policy it names now
            return status if status.lease is None else _skip(status, target, event)
        case Expire(now=now):
            return _expire(status, target, now, max_failed_leases)
        case Release():
            return replace(status, state=target, lease=None)
        case Import():
            return replace(status, state=target, lease=None, closed_by="")
        case Pin() | SetBand():
            return replace(status, state=target)
        case Reopen():
            return status if status.state is target else TaskStatus(target)


def _check_token(status: TaskStatus, token: str, now: datetime) -> None:
    if status.lease is None:
        if not token or token != status.closed_by:
            raise StaleLease(f"the lease token does not hold the task, which is {status.state}")
    elif token != status.lease.token:
        raise StaleLease("the lease token does not hold the task, which is leased under another")
    elif status.expired(now):
        raise StaleLease(f"the lease expired at {status.lease.expires.isoformat()}")


def _skip(status: TaskStatus, target: TaskState, event: Skip) -> TaskStatus:
    match event.requeue:
        case Requeue.ANYBODY:
            target = TaskState.WAITING
        case Requeue.OTHERS:
            target = TaskState.WAITING if event.others_left else TaskState.DEAD_LETTER
    return replace(status, state=target, lease=None, closed_by=event.token)


def _expire(status: TaskStatus, target: TaskState, now: datetime, max_failed_leases: int) -> TaskStatus:
    if not status.expired(now):
        raise WrongState("expire: the lease still runs")
    failed = status.failed_leases + 1
    return TaskStatus(TaskState.DEAD_LETTER if failed >= max_failed_leases else target, failed_leases=failed)
