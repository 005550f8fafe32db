"""The append-only audit: who did what to which task or to the current generation, and when."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import Connection, Row, select

from quandary_server.leasing.events import Action
from quandary_server.leasing.order import Place, query_of
from quandary_server.storage.conflicts import again_after_conflict
from quandary_server.storage.database import Database
from quandary_server.storage.many_rows import RowInsert
from quandary_server.storage.paging import Page, check_page_size, continued_behind, page_of, serial
from quandary_server.storage.schema import audit

__all__ = ["Audit", "AuditEvent", "PlaceAction", "PointerAction", "place_facts", "rank_facts", "write_audit"]


class PointerAction(StrEnum):
    """What happens to the pointer; the audit names no task then, and the generations in the details."""

    PROMOTE = "promote"
    ROLL_BACK = "roll_back"


class PlaceAction(StrEnum):
    """What happens to a task's place because of another task."""

    SUCCEED = "succeed"


APPEND = RowInsert(audit, [each for each in audit.columns if each.name != "id"])


@dataclass(frozen=True, slots=True)
class AuditEvent:
    """One entry; subject: who, empty where time did it. details: further facts by name, never a lease token."""

    time: datetime
    subject: str
    action: Action | PlaceAction | PointerAction
    queue: str
    frame_id: str
    details: Mapping[str, str] = field(default_factory=dict)


class Audit:
    """The audit of a store."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def list(
        self,
        *,
        task: tuple[str, str] | None = None,
        newest_first: bool = False,
        page_size: int = 50,
        page_token: str = "",
    ) -> Page[AuditEvent]:
        """Return a page of the events, oldest first by default; task: only those of this queue and frame id.

        Raises InvalidArgument for a page size outside 1 to 500 or a malformed token.
        """
        listing = f"audit/{'newest/' if newest_first else ''}{'/'.join(task or ())}"
        last = continued_behind(listing, page_token, serial)
        query = select(audit).order_by(audit.c.id.desc() if newest_first else audit.c.id).limit(check_page_size(page_size) + 1)
        if last is not None:
            query = query.where(audit.c.id < last if newest_first else audit.c.id > last)
        if task is not None:
            query = query.where(audit.c.queue == task[0], audit.c.frame_id == task[1])
        # ids are given before the commit: between writes no smaller one can turn up behind the page
        with self._database.read(between_writes=True) as connection:
            rows = connection.execute(query).all()
        page = page_of(listing, rows, page_size, lambda row: row.id)
        return Page(tuple(map(_event_of, page.items)), page.next_token)

    def stands_in_for(self, queue: str, place: Place) -> str:
        """Return the frame that ended without labels and whose rank this place took over; empty if the query gave it itself."""
        if place.rank is None:
            return ""
        mine = (audit.c.queue == queue) & (audit.c.frame_id == place.frame_id) & (audit.c.action == PlaceAction.SUCCEED.value)
        query = select(audit.c.details).where(mine).order_by(audit.c.id.desc()).limit(1)
        with self._database.read() as connection:
            details = connection.execute(query).scalar_one_or_none() or {}
        return str(details["of"]) if details.items() >= rank_facts(place).items() else ""

    def last_move(self) -> AuditEvent | None:
        """Return the last thing that happened to the pointer, None where nothing has."""
        moves = (audit.c.queue == "") & (audit.c.frame_id == "")
        with self._database.read() as connection:
            row = connection.execute(select(audit).where(moves).order_by(audit.c.id.desc()).limit(1)).one_or_none()
        return None if row is None else _event_of(row)

    @again_after_conflict
    def write(self, event: AuditEvent) -> None:
        """Append an event of what is not in the store itself."""
        with self._database.write() as connection:
            write_audit(connection, [event])


def _event_of(row: Row[Any]) -> AuditEvent:
    kind = next((kind for kind in (PlaceAction, PointerAction) if row.action in set(kind)), Action)
    return AuditEvent(row.time, row.subject, kind(row.action), row.queue, row.frame_id, row.details)


def place_facts(place: Place, generation: str) -> dict[str, str]:
    """Return the details that tell why a task has its place in the lease order; generation: that gave its score, if any."""
    facts = {"band": place.band.name.lower()}
    if place.pinned:
        facts["pinned"] = "True"
    if place.rank is not None:
        facts["rank"] = str(place.rank)
    if place.score is not None:
        facts["score"] = str(place.score)
    if generation:
        facts["generation"] = generation
    return facts


def rank_facts(place: Place) -> dict[str, str]:
    """Return the details that tell a place's rank from those of all other queries; none without a rank."""
    return {} if place.rank is None else {"rank": str(place.rank), "query": str(query_of(place.epoch))}


def write_audit(connection: Connection, events: Iterable[AuditEvent]) -> None:
    """Append events in the caller's transaction: what happened and its trace are kept together or not at all."""
    APPEND.send(connection, [_row(event) for event in events])


def _row(event: AuditEvent) -> dict[str, Any]:
    return {
        "time": event.time,
        "subject": event.subject,
        "action": event.action.value,
        "queue": event.queue,
        "frame_id": event.frame_id,
        "details": dict(event.details),
    }
