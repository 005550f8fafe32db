"""The labels of a store: one set per frame, the last one handed in."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from sqlalchemy import Row, case, func, select

from quandary.errors import InvalidArgument, NotFound
from quandary.labels import FrameLabels
from quandary_server.leasing.events import Action
from quandary_server.storage import counters
from quandary_server.storage.audit import AuditEvent, write_audit
from quandary_server.storage.closing import close_labelled
from quandary_server.storage.conflicts import again_after_conflict
from quandary_server.storage.database import Database
from quandary_server.storage.expiry import expire_due
from quandary_server.storage.label_rows import LABELLED_FRAMES, labelled_frame_of, stored_labels, write_labels
from quandary_server.storage.label_values import LabelCounts, LabelledFrame, Submitted, frame_labels_json
from quandary_server.storage.paging import Page, check_page_size, continued_behind, page_of, serial
from quandary_server.storage.schema import frames, labels, tasks
from quandary_server.storage.task_values import CONTROL_QUEUE

__all__ = ["Labels"]

MAX_NAMED = 5


class Labels:
    """The labels of a store."""

    def __init__(self, database: Database, max_failed_leases: int) -> None:
        self._database = database
        self._max_failed_leases = max_failed_leases

    @again_after_conflict
    def submit(self, found: Sequence[FrameLabels], *, labeller: str, now: datetime) -> Submitted:
        """Store labels that came without a lease, all or none, and close the frames' tasks, those too that are leased.

        Who holds a lease on one learns of it at the next use, and replaces these labels only by submitting as well.
        Raises InvalidArgument if a frame is given twice, NotFound naming the frames that no task knows.
        """
        ids = [frame.frame_id for frame in found]
        for i, frame_id in enumerate(ids):
            if frame_id in ids[:i]:
                raise InvalidArgument.of(f"frames[{i}].frame_id", frame_id, "given once")

        with self._database.write() as connection:
            expire_due(connection, now, self._max_failed_leases)
            known = connection.execute(select(tasks).where(tasks.c.frame_id.in_(ids))).all()
            queue_of = _queue_of(known)
            _check_known(ids, queue_of)
            stored = stored_labels(connection, ids)
            changed = [f for f in found if f.frame_id not in stored or _differ(f, stored[f.frame_id].labels)]
            write_labels(connection, changed, queue_of, labeller=labeller, now=now)
            closed = close_labelled(connection, known, labeller=labeller, now=now)
            told = {(event.queue, event.frame_id) for event in closed}
            others = sorted({(queue_of[f.frame_id], f.frame_id) for f in changed} - told)
            events = closed + [AuditEvent(now, labeller, Action.IMPORT, *of_frame) for of_frame in others]
            gone = {f.frame_id: stored[f.frame_id].labeller for f in changed if f.frame_id in stored}
            write_audit(connection, [_with_replaced(event, gone) for event in events])
        return Submitted(len(changed), len(found) - len(changed), len(gone))

    def records(self, frame_ids: Sequence[str]) -> dict[str, bytes]:
        """Return the serialised FrameRecords of those of the frames that are known, labelled or not."""
        query = select(frames.c.frame_id, frames.c.record).where(frames.c.frame_id.in_(frame_ids))
        with self._database.read() as connection:
            return {row.frame_id: row.record for row in connection.execute(query)}

    def get(self, frame_id: str) -> LabelledFrame:
        """Return the labels of one frame; raises NotFound if it has none."""
        with self._database.read() as connection:
            row = connection.execute(LABELLED_FRAMES.where(labels.c.frame_id == frame_id)).one_or_none()
        if row is None:
            raise NotFound(f"there are no labels of frame {frame_id}")
        return labelled_frame_of(row)

    def list(self, *, page_size: int = 50, page_token: str = "") -> Page[LabelledFrame]:
        """Return a page of the labelled frames, those labelled longest ago first.

        Raises InvalidArgument for a page size outside 1 to 500 or a malformed token.
        """
        after = continued_behind("labels", page_token, serial) or 0
        query = LABELLED_FRAMES.where(labels.c.sequence > after).order_by(labels.c.sequence)
        with self._database.read() as connection:
            rows = connection.execute(query.limit(check_page_size(page_size) + 1)).all()
        return page_of("labels", [labelled_frame_of(row) for row in rows], page_size, lambda frame: frame.sequence)

    def all(self) -> tuple[LabelledFrame, ...]:
        """Return all labelled frames as of one moment, those labelled longest ago first."""
        with self._database.read() as connection:
            rows = connection.execute(LABELLED_FRAMES.order_by(labels.c.sequence)).all()
        return tuple(map(labelled_frame_of, rows))

    def newest_control(self, limit: int) -> tuple[LabelledFrame, ...]:
        """Return the labelled frames of control drives, those labelled last, the newest first."""
        query = LABELLED_FRAMES.where(labels.c.queue == CONTROL_QUEUE).order_by(labels.c.sequence.desc())
        with self._database.read() as connection:
            rows = connection.execute(query.limit(limit)).all()
        return tuple(map(labelled_frame_of, rows))

    def counts(self, *, newer_than: int = 0) -> LabelCounts:
        """Return the counts of the labels whose sequence is larger than `newer_than`."""
        control = labels.c.queue == CONTROL_QUEUE
        crops = frames.c.crops
        query = (
            select(
                func.coalesce(func.sum(case((control, 0), else_=1)), 0),
                func.coalesce(func.sum(case((control, 0), else_=crops)), 0),
                func.coalesce(func.sum(case((control, 1), else_=0)), 0),
                func.coalesce(func.sum(case((control, crops), else_=0)), 0),
            )
            .select_from(labels.join(frames, frames.c.frame_id == labels.c.frame_id))
            .where(labels.c.sequence > newer_than)
        )
        with self._database.read() as connection:
            counted = connection.execute(query).one()
            return LabelCounts(*counted, sequence=counters.last_drawn(connection, counters.LABELS))


def _with_replaced(event: AuditEvent, gone: Mapping[str, str]) -> AuditEvent:
    whose = gone.get(event.frame_id)
    return event if whose is None else replace(event, details={**event.details, "replaced_labels_of": whose})


def _differ(found: FrameLabels, stored: Mapping[str, Any]) -> bool:
    """Return whether labels differ from those stored; where they say nothing of time or pre-labels, what is known stays."""
    told = frame_labels_json(found)
    kept = {name: told[name] or stored[name] for name in ("seconds_spent", "prelabel_generation")}
    return told | kept != stored


def _queue_of(known: Sequence[Row[Any]]) -> dict[str, str]:
    # A frame of a control drive stays one, whatever other queue it is in.
    ordered = sorted(known, key=lambda row: (row.queue == CONTROL_QUEUE, row.queue))
    return {row.frame_id: row.queue for row in ordered}


def _check_known(frame_ids: Sequence[str], queue_of: dict[str, str]) -> None:
    unknown = [frame_id for frame_id in frame_ids if frame_id not in queue_of]
    if unknown:
        more = f" and {len(unknown) - MAX_NAMED} more" if len(unknown) > MAX_NAMED else ""
        raise NotFound(f"no task knows the frames {', '.join(unknown[:MAX_NAMED])}{more}")
