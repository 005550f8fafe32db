"""Leasing tasks and ending leases. Each call is one transaction together with its audit."""

import secrets
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, select, update

from quandary.errors import InvalidArgument, StaleLease, WrongState
from quandary.labels import FrameLabels
from quandary_server.leasing.bands import Turn
from quandary_server.leasing.events import Acknowledge, Grant, Release, Renew, Requeue, Skip
from quandary_server.leasing.machine import ENDED_WITHOUT_LABELS, move
from quandary_server.leasing.status import Lease, TaskState
from quandary_server.storage.audit import AuditEvent, place_facts, write_audit
from quandary_server.storage.closing import close_elsewhere, labelled_meanwhile
from quandary_server.storage.conflicts import again_after_conflict
from quandary_server.storage.database import Database
from quandary_server.storage.expiry import LOCKED, expire
from quandary_server.storage.insertion import insert_missing
from quandary_server.storage.label_rows import stored_labels, write_labels
from quandary_server.storage.label_values import frame_labels_json
from quandary_server.storage.lease_order import ask_first, next_tasks
from quandary_server.storage.prepared import together
from quandary_server.storage.schema import exclusions, tasks
from quandary_server.storage.siblings import ask_siblings, siblings_of
from quandary_server.storage.succession import SAME_SCENE, Ended, Heir, pass_on, successions
from quandary_server.storage.task_rows import (
    THIS_TASK,
    check_queue,
    load_task,
    moved_to,
    place_of,
    status_of,
    task_of,
    this_task,
    write_statuses,
)
from quandary_server.storage.task_values import Task

__all__ = ["Leases", "new_token"]


def new_token() -> str:
    """Return a lease token that nobody can guess: 128 random bits in hexadecimal."""
    return secrets.token_hex(16)


class Leases:
    """The leases of a store.

    All calls that end or extend a lease take its token and raise NotFound for an unknown task, StaleLease if the token does
    not hold it, and WrongState if the token closed the task in another way. subject: who calls, for the audit.
    """

    def __init__(self, database: Database, max_failed_leases: int, passed_over_at_most: int) -> None:
        self._database = database
        self._max_failed_leases = max_failed_leases
        self._passed_over_at_most = passed_over_at_most

    @again_after_conflict
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
        """Lease the first `max_tasks` waiting tasks, fewer if fewer wait; each gets a token of its own.

        The first are those in lease order, but for the turns of lower bands (`leasing.bands`) and what the holder skipped for
        others.

        What is folded is not leased: it comes along as the siblings of what it is folded under.

        Raises NotFound for an unknown queue, InvalidArgument unless max_tasks >= 1 and duration > 0.
        """
        if max_tasks < 1:
            raise InvalidArgument.of("max_tasks", max_tasks, ">= 1")
        expires = now + duration
        with self._database.write_beside() as connection:
            found = self._next(connection, queue, holder, max_tasks, now)
            moved = [move(status_of(row), Grant(Lease(token(), holder, expires), now)) for row, _ in found]
            with together(connection):
                write_statuses(
                    connection, [moved_to(queue, row.frame_id, to) for (row, _), to in zip(found, moved, strict=True)]
                )
                write_audit(connection, [_granted(row, turn, holder, expires, now) for row, turn in found])
                answer = ask_siblings(connection, queue, [row.frame_id for row, _ in found])
            siblings = siblings_of(answer)
        # what is left to do takes no lock
        return tuple(task_of(row, to, siblings.get(row.frame_id, ())) for (row, _), to in zip(found, moved, strict=True))

    def _next(
        self, connection: Connection, queue: str, holder: str, max_tasks: int, now: datetime
    ) -> list[tuple[Any, Turn | None]]:
        """Return what is leased next, once all that was due has expired. Raises NotFound for an unknown queue."""
        with together(connection):  # nearly always nothing is due, and the second answer is good
            due = LOCKED.send(connection, {"now": now})
            first = ask_first(connection, queue, holder, max_tasks)
        if expired := due.rows():
            expire(connection, expired, now, self._max_failed_leases)
            first = ask_first(connection, queue, holder, max_tasks)
        found = next_tasks(connection, first.rows(), queue, holder, max_tasks, self._passed_over_at_most)
        if not found:
            check_queue(connection, queue)
        return found

    @again_after_conflict
    def renew(self, queue: str, frame_id: str, token: str, *, subject: str, duration: timedelta, now: datetime) -> Task:
        """Let the lease end `duration` from now. Raises InvalidArgument unless that is > 0."""
        expires = now + duration
        with self._database.write_beside() as connection:
            details = {"expires": expires.isoformat()}
            return _move(connection, queue, frame_id, Renew(token, expires, now), subject, details)[0]

    @again_after_conflict
    def acknowledge(self, queue: str, frame_id: str, token: str, labels: FrameLabels, *, subject: str, now: datetime) -> Task:
        """Store the labels, close the task, and the frame's in other queues, together. The same again: nothing changes.

        Raises InvalidArgument for labels of another frame, WrongState if it was acknowledged with other labels.
        """
        if labels.frame_id != frame_id:
            raise InvalidArgument.of("labels.frame_id", labels.frame_id, f"the task's ({frame_id})")
        with self._database.write_beside() as connection:
            details = {"labels": str(len(labels.labels)), "seconds_spent": f"{labels.time_spent.total_seconds():g}"}
            if labels.prelabel_generation:
                details["prelabel_generation"] = labels.prelabel_generation
            task, changed = _move(connection, queue, frame_id, Acknowledge(token, now), subject, details)
            if changed:
                write_labels(connection, [labels], {frame_id: queue}, labeller=subject, now=now, lease_token=token)
                write_audit(connection, close_elsewhere(connection, queue, frame_id, labeller=subject, now=now))
            else:
                _check_repeated(connection, labels, token)
        return task

    @again_after_conflict
    def skip(
        self,
        queue: str,
        frame_id: str,
        token: str,
        *,
        reason: str,
        comment: str = "",
        requeue: Requeue = Requeue.NEVER,
        labellers: Collection[str] = (),
        subject: str,
        now: datetime,
    ) -> Task:
        """Give the task up: close it without labels, or let anybody or others than `subject` have it. The same again: nothing
        changes. Raises InvalidArgument without a reason.

        labellers: all who label, where that is known; a task that each of them skipped for others is a dead letter. What was
        folded under a task that ends by this is asked for in its place.
        """
        if not reason:
            raise InvalidArgument.of("reason", "missing", "set")
        if "\0" in comment:
            raise InvalidArgument.of("comment", repr(comment), "text without NUL")
        with self._database.write_beside() as connection:
            details = {"reason": reason, "comment": comment, "requeue": requeue.value}
            left = requeue is not Requeue.OTHERS or _others_left(connection, queue, frame_id, labellers, subject)
            task, changed = _move(connection, queue, frame_id, Skip(token, now, requeue, left), subject, details)
            if not changed:
                return task
            if requeue is Requeue.OTHERS:
                insert_missing(connection, exclusions, [{"queue": queue, "subject": subject, "frame_id": frame_id}])
            if task.state is not TaskState.SKIPPED:
                return task
            written = {"skip_reason": reason, "skip_comment": comment}
            connection.execute(update(tasks).where(THIS_TASK).values(**written), this_task(queue, frame_id))
        return replace(task, skip_reason=reason, skip_comment=comment)

    @again_after_conflict
    def release(self, queue: str, frame_id: str, token: str, *, subject: str, now: datetime) -> Task:
        """Give the task back: it waits again at once, in its old place."""
        with self._database.write_beside() as connection:
            return _move(connection, queue, frame_id, Release(token, now), subject, {})[0]


def _move(
    connection: Connection,
    queue: str,
    frame_id: str,
    event: Renew | Acknowledge | Skip | Release,
    subject: str,
    details: Mapping[str, str],
) -> tuple[Task, bool]:
    task = load_task(connection, queue, frame_id, locked=True)
    try:
        status = move(task.status, event)
    except StaleLease as error:
        raise (labelled_meanwhile(connection, frame_id, error) if task.state is TaskState.ACKNOWLEDGED else error) from None
    if status == task.status:
        return task, False
    write_statuses(connection, [moved_to(queue, frame_id, status)])
    heirs: dict[tuple[str, str], Heir] = {}
    if status.state in ENDED_WITHOUT_LABELS:
        heirs = pass_on(connection, [Ended(queue, frame_id, same_scene=details.get("reason") == SAME_SCENE)])
        if heir := heirs.get((queue, frame_id)):
            details = {**details, "heir": heir.frame_id}
    told = AuditEvent(event.now, subject, event.action, queue, frame_id, details)
    write_audit(connection, [told, *successions(heirs, subject=subject, now=event.now)])
    return replace(task, status=status), True


def _granted(row: Any, turn: Turn | None, holder: str, expires: datetime, now: datetime) -> AuditEvent:
    # Why this task and no other: its place at that moment.
    details = {"expires": expires.isoformat(), **place_facts(place_of(row), row.generation)}
    if turn is not None and turn.passed_over:
        details["passed_over"] = str(turn.passed_over)
    return AuditEvent(now, holder, Grant.action, row.queue, row.frame_id, details)


def _others_left(connection: Connection, queue: str, frame_id: str, labellers: Collection[str], subject: str) -> bool:
    """Return whether a labeller but the subject may still get the task; where no labeller is known, somebody may."""
    kept_from = select(exclusions.c.subject).where(exclusions.c.queue == queue, exclusions.c.frame_id == frame_id)
    return not labellers or not {*labellers} <= {subject, *connection.execute(kept_from).scalars()}


def _check_repeated(connection: Connection, labels: FrameLabels, token: str) -> None:
    # Labels that differ are no repetition: to accept them in silence would lose them.
    found = stored_labels(connection, [labels.frame_id])[labels.frame_id]
    if found.lease_token == token and found.labels != frame_labels_json(labels):
        raise WrongState("acknowledge: the task was acknowledged with other labels; submit labels to replace them")
