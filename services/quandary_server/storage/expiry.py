"""Leases that have run out.

No clock ticks here: whoever looks at a queue first expires what is due, so that each answer is that of a queue in which every
lease ends on time.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, bindparam, select

from quandary_server.leasing.events import Action, Expire
from quandary_server.leasing.machine import ENDED_WITHOUT_LABELS, move
from quandary_server.storage.audit import AuditEvent, write_audit
from quandary_server.storage.conflicts import again_after_conflict
from quandary_server.storage.database import Database
from quandary_server.storage.prepared import Prepared
from quandary_server.storage.schema import LEASED, tasks
from quandary_server.storage.succession import Ended, Heir, pass_on, successions
from quandary_server.storage.task_rows import STATUS_COLUMNS, moved_to, status_of, write_statuses

__all__ = ["LOCKED", "expire", "expire_due", "reading_settled"]

DUE = (
    select(tasks.c.queue, tasks.c.frame_id, *STATUS_COLUMNS)
    .where(LEASED, tasks.c.lease_expires <= bindparam("now", type_=tasks.c.lease_expires.type))
    .order_by(tasks.c.lease_expires, tasks.c.queue, tasks.c.frame_id)  # whoever locks them does it in this order
)
LOCKED = Prepared(DUE.with_for_update())
ANY_DUE = Prepared(DUE.limit(1))


def expire_due(connection: Connection, now: datetime, max_failed_leases: int) -> None:
    """Expire every lease that is due, in the caller's transaction; the near copies of dead letters take their places."""
    expire(connection, LOCKED.rows(connection, {"now": now}), now, max_failed_leases)


def expire(connection: Connection, due: Sequence[Any], now: datetime, max_failed_leases: int) -> None:
    """Expire the leases of rows that LOCKED found."""
    moved, events, ended = [], [], []
    for row in due:
        status = move(status_of(row), Expire(now), max_failed_leases=max_failed_leases)
        moved.append(moved_to(row.queue, row.frame_id, status))
        details = {"holder": row.lease_holder, "expired": row.lease_expires.isoformat(), "state": status.state.value}
        events.append(AuditEvent(now, "", Action.EXPIRE, row.queue, row.frame_id, details))
        if status.state in ENDED_WITHOUT_LABELS:
            ended.append(Ended(row.queue, row.frame_id))
    write_statuses(connection, moved)
    if ended:
        heirs = pass_on(connection, ended)
        events = [_with_heir(event, heirs.get((event.queue, event.frame_id))) for event in events]
        events += successions(heirs, subject="", now=now)
    write_audit(connection, events)


def _with_heir(event: AuditEvent, heir: Heir | None) -> AuditEvent:
    return event if heir is None else replace(event, details={**event.details, "heir": heir.frame_id})


@contextmanager
def reading_settled(database: Database, now: datetime, max_failed_leases: int) -> Iterator[Connection]:
    """Return a reading connection that finds no lease due."""
    with database.read() as connection:
        if not ANY_DUE.rows(connection, {"now": now}):
            yield connection
            return
    _expire_due(database, now, max_failed_leases)
    with database.read() as connection:
        yield connection


@again_after_conflict
def _expire_due(database: Database, now: datetime, max_failed_leases: int) -> None:
    with database.write_beside() as connection:
        expire_due(connection, now, max_failed_leases)
