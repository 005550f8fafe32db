"""Labels as rows: how they are read and written within a transaction."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, Select, bindparam, insert, select, update

from quandary.labels import FrameLabels
from quandary_server.storage import counters
from quandary_server.storage.label_values import LabelledFrame, frame_labels_from, frame_labels_json
from quandary_server.storage.schema import frames, labels

__all__ = ["LABELLED_FRAMES", "Stored", "labelled_frame_of", "stored_labels", "write_labels"]

LABELLED_FRAMES: Select[Any] = select(labels, frames.c.drive_id, frames.c.crops, frames.c.record).join(
    frames, frames.c.frame_id == labels.c.frame_id
)
"""Every labelled frame with its record."""


def labelled_frame_of(row: Row[Any]) -> LabelledFrame:
    """Return the labelled frame of a row of LABELLED_FRAMES."""
    return LabelledFrame(
        frame_labels_from(row.frame_id, dict(row._mapping)),
        row.drive_id,
        row.queue,
        row.labeller,
        row.label_time,
        row.sequence,
        row.crops,
        row.record,
    )


@dataclass(frozen=True, slots=True)
class Stored:
    """What is stored of a frame: the labels' JSON, who gave them, and the lease token they came under."""

    labels: Mapping[str, Any]
    labeller: str
    lease_token: str


def stored_labels(connection: Connection, frame_ids: Iterable[str]) -> dict[str, Stored]:
    """Return by frame id what is stored, of those frames that have labels."""
    query = select(labels).where(labels.c.frame_id.in_(list(frame_ids)))
    return {
        row.frame_id: Stored(
            frame_labels_json(frame_labels_from(row.frame_id, dict(row._mapping))), row.labeller, row.lease_token
        )
        for row in connection.execute(query)
    }


def write_labels(
    connection: Connection,
    found: Sequence[FrameLabels],
    queue_of: Mapping[str, str],
    *,
    labeller: str,
    now: datetime,
    lease_token: str = "",
) -> None:
    """Write the labels of frames, each once, in place of those they had."""
    if not found:
        return
    ids = [frame.frame_id for frame in found]
    first = counters.draw(connection, counters.LABELS, len(found))  # from here on nobody else writes labels
    replaced = set(connection.execute(select(labels.c.frame_id).where(labels.c.frame_id.in_(ids))).scalars())
    rows = [
        {
            "frame_id": frame.frame_id,
            "sequence": first + i,
            "queue": queue_of[frame.frame_id],
            "labeller": labeller,
            "label_time": now,
            "lease_token": lease_token,
            **frame_labels_json(frame),
        }
        for i, frame in enumerate(found)
    ]
    new = [row for row in rows if row["frame_id"] not in replaced]
    if new:
        connection.execute(insert(labels), new)
    changed = [{"of_frame": row.pop("frame_id"), **row} for row in rows if row["frame_id"] in replaced]
    if changed:
        connection.execute(update(labels).where(labels.c.frame_id == bindparam("of_frame")), changed)
