"""Labels that came in another way than under a task's lease close the frame's tasks, whoever holds them."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, select

from quandary.errors import StaleLease
from quandary_server.leasing.events import Action, Import
from quandary_server.leasing.machine import TRANSITIONS, move
from quandary_server.storage.audit import AuditEvent
from quandary_server.storage.schema import labels, tasks
from quandary_server.storage.task_rows import moved_to, status_of, write_statuses

__all__ = ["close_elsewhere", "close_labelled", "labelled_meanwhile"]

CLOSABLE = sorted(state for state, action in TRANSITIONS if action is Action.IMPORT)


def close_labelled(connection: Connection, rows: Sequence[Row[Any]], *, labeller: str, now: datetime) -> list[AuditEvent]:
    """Close those of the tasks, rows of `tasks`, that ask for a label; return what the audit is to tell of it.

    A lease ends by it: what its holder hands in later is refused, and does not replace these labels unseen.
    """
    open_ = [row for row in rows if row.state in CLOSABLE]
    write_statuses(connection, [moved_to(row.queue, row.frame_id, move(status_of(row), Import(now))) for row in open_])
    return [
        AuditEvent(now, labeller, Import.action, row.queue, row.frame_id, _lease_ended(row))
        for row in sorted(open_, key=lambda row: (row.queue, row.frame_id))
    ]


def close_elsewhere(connection: Connection, queue: str, frame_id: str, *, labeller: str, now: datetime) -> list[AuditEvent]:
    """Close the frame's tasks in other queues, as `close_labelled` does: nobody is to label it twice."""
    elsewhere = (tasks.c.frame_id == frame_id) & (tasks.c.queue != queue) & tasks.c.state.in_(CLOSABLE)
    rows = connection.execute(select(tasks).where(elsewhere).order_by(tasks.c.queue).with_for_update()).all()
    return close_labelled(connection, rows, labeller=labeller, now=now) if rows else []


def labelled_meanwhile(connection: Connection, frame_id: str, error: StaleLease) -> StaleLease:
    """Return the error with who labelled the frame and when, if anybody did."""
    row = connection.execute(select(labels).where(labels.c.frame_id == frame_id)).one_or_none()
    if row is None:
        return error
    at = row.label_time.isoformat(sep=" ", timespec="seconds")
    return StaleLease(f"{error.message}: {row.labeller} labelled {frame_id} at {at}; to replace those labels, submit yours")


def _lease_ended(row: Row[Any]) -> dict[str, str]:
    return {} if row.lease_holder is None else {"ended_lease_of": row.lease_holder}
