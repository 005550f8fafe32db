"""Leasing tasks and ending leases. Each call is one transaction together with its audit."""

import secrets
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta

from sqlalchemy import Connection, bindparam, update

from quandary.errors import InvalidArgument, WrongState
from quandary.labels import FrameLabels
from quandary_server.leasing.events import Acknowledge, Grant, Release, Renew, Skip
from quandary_server.leasing.machine import move
from quandary_server.leasing.order import FOLDED_KEYS
from quandary_server.leasing.status import Lease
from quandary_server.storage.audit import AuditEvent, write_audit
from quandary_server.storage.database import Database
from quandary_server.storage.expiry import expire_due
from quandary_server.storage.label_rows import stored_labels, write_labels
from quandary_server.storage.label_values import frame_labels_json
from quandary_server.storage.schema import WAITS, tasks
from quandary_server.storage.siblings import with_siblings
from quandary_server.storage.task_rows import (
    TASKS,
    THIS_TASK,
    check_queue,
    load_task,
    moved_to,
    status_of,
    task_of,
    this_task,
    write_statuses,
)
from quandary_server.storage.task_values import Task

__all__ = ["Leases", "new_token"]

FIRST_WAITING = (
    TASKS.where(tasks.c.queue == bindparam("queue"), WAITS, tasks.c.lease_key < FOLDED_KEYS)
    .order_by(tasks.c.lease_key)
    .limit(bindparam("at_most"))
)


def new_token() -> str:
    """Return a lease token that nobody can guess: 128 random bits in hexadecimal."""
    return secrets.token_hex(16)


class Leases:
    """The leases of a store.

    All calls that end or extend a lease take its token and raise NotFound for an unknown task, StaleLease if the token does
    not hold it, and WrongState if the token closed the task in another way. subject: who calls, for the audit.
    """

    def __init__(self, database: Database, max_failed_leases: int) -> None:
        self._database = database
        self._max_failed_leases = max_failed_leases

    def lease(
        self,
        queue: str,
        *,
        holder: str,
        max_tasks: int,
        duration: timedelta,
        now: datetime,
        token: Callable[[], str] = new_token,
    ) -> tuple[Task, ...]:
        """Lease the first `max_tasks` waiting tasks in lease order, fewer if fewer wait; each gets a token of its own.

        What is folded is not leased: it comes along as the siblings of what it is folded under.

        Raises NotFound for an unknown queue, InvalidArgument unless max_tasks >= 1 and duration > 0.
        """
        if max_tasks < 1:
            raise InvalidArgument.of("max_tasks", max_tasks, ">= 1")
        with self._database.write() as connection:
            expire_due(connection, now, self._max_failed_leases)
            rows = connection.execute(FIRST_WAITING, {"queue": queue, "at_most": max_tasks}).all()
            if not rows:
                check_queue(connection, queue)
            expires = now + duration
            leased = [task_of(row, move(status_of(row), Grant(Lease(token(), holder, expires), now))) for row in rows]
            write_statuses(connection, [moved_to(task.queue, task.frame_id, task.status) for task in leased])
            write_audit(connection, [_leased(task, holder, now) for task in leased])
            return tuple(with_siblings(connection, leased))

    def renew(self, queue: str, frame_id: str, token: str, *, subject: str, duration: timedelta, now: datetime) -> Task:
        """Let the lease end `duration` from now. Raises InvalidArgument unless that is > 0."""
        expires = now + duration
        with self._database.write() as connection:
            details = {"expires": expires.isoformat()}
            return _move(connection, queue, frame_id, Renew(token, expires, now), subject, details)[0]

    def acknowledge(self, queue: str, frame_id: str, token: str, labels: FrameLabels, *, subject: str, now: datetime) -> Task:
        """Store the labels and close the task, together. The same again: nothing changes.

        Raises InvalidArgument for labels of another frame, WrongState if it was acknowledged with other labels.
        """
        if labels.frame_id != frame_id:
            raise InvalidArgument.of("labels.frame_id", labels.frame_id, f"the task's ({frame_id})")
        with self._database.write() as connection:
            details = {"labels": str(len(labels.labels))}
            task, changed = _move(connection, queue, frame_id, Acknowledge(token, now), subject, details)
            if changed:
                write_labels(connection, [labels], {frame_id: queue}, labeller=subject, now=now, lease_token=token)
            else:
                _check_repeated(connection, labels, token)
        return task

    def skip(
        self, queue: str, frame_id: str, token: str, *, reason: str, comment: str = "", subject: str, now: datetime
    ) -> Task:
        """Close the task without labels. The same again: nothing changes. Raises InvalidArgument without a reason."""
        if not reason:
            raise InvalidArgument.of("reason", "missing", "set")
        with self._database.write() as connection:
            details = {"reason": reason, "comment": comment}
            task, changed = _move(connection, queue, frame_id, Skip(token, now), subject, details)
            if not changed:
                return task
            written = {"skip_reason": reason, "skip_comment": comment}
            connection.execute(update(tasks).where(THIS_TASK).values(**written), this_task(queue, frame_id))
        return replace(task, skip_reason=reason, skip_comment=comment)

    def release(self, queue: str, frame_id: str, token: str, *, subject: str, now: datetime) -> Task:
        """Give the task back: it waits again at once, in its old place."""
        with self._database.write() as connection:
            return _move(connection, queue, frame_id, Release(token, now), subject, {})[0]


def _move(
    connection: Connection,
    queue: str,
    frame_id: str,
    event: Renew | Acknowledge | Skip | Release,
    subject: str,
    details: Mapping[str, str],
) -> tuple[Task, bool]:
    task = load_task(connection, queue, frame_id)
    status = move(task.status, event)
    if status == task.status:
        return task, False
    write_statuses(connection, [moved_to(queue, frame_id, status)])
    write_audit(connection, [AuditEvent(event.now, subject, event.action, queue, frame_id, details)])
    return replace(task, status=status), True


def _leased(task: Task, holder: str, now: datetime) -> AuditEvent:
    # Why this task and no other: its place at that moment.
    place, lease = task.place, task.status.lease
    details = {"expires": lease.expires.isoformat() if lease else "", "band": place.band.name.lower()}
    facts = {"pinned": place.pinned or None, "rank": place.rank, "score": place.score, "generation": task.generation or None}
    details |= {name: str(value) for name, value in facts.items() if value is not None}
    return AuditEvent(now, holder, Grant.action, task.queue, task.frame_id, details)


def _check_repeated(connection: Connection, labels: FrameLabels, token: str) -> None:
    # Labels that differ are no repetition: to accept them in silence would lose them.
    found, under = stored_labels(connection, [labels.frame_id])[labels.frame_id]
    if under == token and found != frame_labels_json(labels):
        raise WrongState("acknowledge: the task was acknowledged with other labels; submit labels to replace them")
