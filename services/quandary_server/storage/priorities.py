"""What an operator decides of tasks: pins, bands, and what is asked for again. Each call is one transaction with its audit."""

from dataclasses import replace
from datetime import datetime

from sqlalchemy import Connection, delete, update

from quandary_server.leasing.events import Pin, Reopen, SetBand
from quandary_server.leasing.machine import move
from quandary_server.leasing.order import Place, PriorityBand
from quandary_server.storage.audit import AuditEvent, place_facts, write_audit
from quandary_server.storage.database import Database
from quandary_server.storage.expiry import expire_due
from quandary_server.storage.schema import exclusions, tasks
from quandary_server.storage.succession import unfold_before
from quandary_server.storage.task_rows import THIS_TASK, load_task, moved_to, this_task, write_statuses
from quandary_server.storage.task_values import Task

__all__ = ["Priorities"]


class Priorities:
    """Pins and bands of a store's tasks, and those that ended without labels.

    subject, comment: who decides it and why, for the audit. Raises NotFound for an unknown task, WrongState unless it waits.
    """

    def __init__(self, database: Database, max_failed_leases: int) -> None:
        self._database = database
        self._max_failed_leases = max_failed_leases

    def pin(self, queue: str, frame_id: str, *, pinned: bool, comment: str = "", subject: str, now: datetime) -> Task:
        """Put the task in front of all that are not pinned, or take the pin away. As it is already: nothing changes."""
        return self._move(queue, frame_id, Pin(pinned, now), subject, comment)

    def set_band(
        self, queue: str, frame_id: str, band: PriorityBand, *, comment: str = "", subject: str, now: datetime
    ) -> Task:
        """Move the task to the band; what was folded is so no more, until the next query. As it is already: nothing changes.

        What waits folded under it in a band before the new one is unfolded as well.
        """
        return self._move(queue, frame_id, SetBand(band, now), subject, comment)

    def requeue(self, queue: str, frame_id: str, *, comment: str = "", subject: str, now: datetime) -> Task:
        """Let a skipped task or dead letter be leased again, by anybody, with no lease failed. As it waits already: unchanged.

        It keeps pin, band and score; no rank, which an old query gave. Raises WrongState where it is leased or has labels.
        """
        with self._database.write() as connection:
            expire_due(connection, now, self._max_failed_leases)
            task = load_task(connection, queue, frame_id)
            status = move(task.status, Reopen(now))
            if status == task.status:
                return task
            place = replace(task.place, rank=None, epoch=0, folded=False)
            opened = replace(task, status=status, place=place, folded_under="", skip_reason="", skip_comment="")
            write_statuses(connection, [moved_to(queue, frame_id, status)])
            values = {"rank": None, "folded_under": None, "skip_reason": "", "skip_comment": "", "lease_key": place.key()}
            connection.execute(update(tasks).where(THIS_TASK).values(**values), this_task(queue, frame_id))
            of_task = (exclusions.c.queue == queue) & (exclusions.c.frame_id == frame_id)
            connection.execute(delete(exclusions).where(of_task))
            was = {"from": task.state.value, "failed_leases": str(task.status.failed_leases), "skip_reason": task.skip_reason}
            details = (
                place_facts(opened.place, opened.generation)
                | {name: value for name, value in was.items() if value}
                | _why(comment)
            )
            write_audit(connection, [AuditEvent(now, subject, Reopen.action, queue, frame_id, details)])
        return opened

    def _move(self, queue: str, frame_id: str, event: Pin | SetBand, subject: str, comment: str) -> Task:
        with self._database.write() as connection:
            expire_due(connection, event.now, self._max_failed_leases)
            task = load_task(connection, queue, frame_id)
            moved = replace(task, status=move(task.status, event), place=_placed(task.place, event))
            if not moved.place.folded:
                moved = replace(moved, folded_under="")
            if moved.place != task.place:
                _write_place(connection, moved)
                if isinstance(event, SetBand):
                    unfold_before(connection, queue, frame_id, event.band)
                details = place_facts(task.place, task.generation) | _decided(event) | _why(comment)
                write_audit(connection, [AuditEvent(event.now, subject, event.action, queue, frame_id, details)])
        return moved


def _placed(place: Place, event: Pin | SetBand) -> Place:
    if isinstance(event, Pin):
        return replace(place, pinned=event.pinned)
    return replace(place, band=event.band, folded=place.folded and event.band == place.band)


def _why(comment: str) -> dict[str, str]:
    return {"comment": comment} if comment else {}


def _decided(event: Pin | SetBand) -> dict[str, str]:
    if isinstance(event, Pin):
        return {"to": "pinned" if event.pinned else "unpinned"}
    return {"to": event.band.name.lower()}


def _write_place(connection: Connection, task: Task) -> None:
    place = task.place
    folded_under = task.folded_under or None
    values = {"pinned": place.pinned, "band": int(place.band), "folded_under": folded_under, "lease_key": place.key()}
    connection.execute(update(tasks).where(THIS_TASK).values(**values), this_task(task.queue, task.frame_id))
