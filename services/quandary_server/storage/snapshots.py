"""Label snapshots: what a training run was trained on, frozen in a Parquet file."""

import hashlib
import io
import itertools
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from quandary.errors import CorruptArtefact, InvalidArgument, NotFound, Unavailable
from quandary_server.files import write_atomically
from quandary_server.storage.label_values import LabelledFrame, frame_labels_from, frame_labels_json

__all__ = ["Snapshot", "read_snapshot", "snapshot_digest", "write_snapshot"]

DIGEST_KEY = b"quandary.digest"

SCHEMA = pa.schema(
    [
        pa.field(name, kind, nullable=False)
        for name, kind in (
            ("frame_id", pa.string()),
            ("drive_id", pa.string()),
            ("queue", pa.string()),
            ("control", pa.bool_()),
            ("labels", pa.string()),
            ("labeller", pa.string()),
            ("label_time", pa.timestamp("us", tz="UTC")),
            ("sequence", pa.int64()),
            ("crops", pa.int32()),
            ("record", pa.binary()),
        )
    ]
)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Labelled frames in the order of their ids; digest: SHA-256 of what they say, hexadecimal."""

    frames: tuple[LabelledFrame, ...]
    digest: str


def snapshot_digest(frames: Sequence[LabelledFrame]) -> str:
    """Return the SHA-256, hexadecimal, of the frames' content, whatever their order.

    It is taken of canonical JSON and not of the Parquet bytes, which change with the version of the library.
    """
    digest = hashlib.sha256()
    for frame in sorted(frames, key=lambda frame: frame.frame_id):
        row = _row(frame)
        row |= {"label_time": row["label_time"].isoformat(), "record": hashlib.sha256(frame.record).hexdigest()}
        digest.update(_canonical(row).encode() + b"\n")
    return digest.hexdigest()


def write_snapshot(path: Path, frames: Sequence[LabelledFrame]) -> Snapshot:
    """Write the frames to a Parquet file, whole or not at all, even if the machine stops half-way.

    Raises InvalidArgument if a frame is given twice, Unavailable where the file cannot be written.
    """
    ordered = tuple(sorted(frames, key=lambda frame: frame.frame_id))
    for one, next_one in itertools.pairwise(ordered):
        if one.frame_id == next_one.frame_id:
            raise InvalidArgument.of("frames", f"{one.frame_id} twice", "each frame once")
    digest = snapshot_digest(ordered)
    table = pa.Table.from_pylist([_row(frame) for frame in ordered], schema=SCHEMA)
    written = io.BytesIO()
    pq.write_table(table.replace_schema_metadata({DIGEST_KEY: digest.encode()}), written, compression="zstd")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, written.getvalue())
    except OSError as error:
        raise Unavailable(f"the label snapshot {path} cannot be written: {error.strerror}") from error
    return Snapshot(ordered, digest)


def read_snapshot(path: Path) -> Snapshot:
    """Return a snapshot that was written; raises NotFound if there is none, CorruptArtefact if it fails its digest."""
    try:
        table = pq.read_table(path)
        if not table.schema.equals(SCHEMA):
            raise CorruptArtefact(f"{path.name} is no label snapshot: it has other columns")
        frames = tuple(map(_frame, table.to_pylist()))
        promised = (table.schema.metadata or {})[DIGEST_KEY].decode()
    except FileNotFoundError:
        raise NotFound(f"there is no label snapshot {path.name}") from None
    except (pa.ArrowException, OSError, KeyError, TypeError, ValueError) as error:
        raise CorruptArtefact(f"{path.name} is no label snapshot: {type(error).__name__}") from error
    digest = snapshot_digest(frames)
    if digest != promised:
        raise CorruptArtefact(f"the label snapshot {path.name} has digest {digest}, not {promised}")
    return Snapshot(frames, digest)


def _row(frame: LabelledFrame) -> dict[str, Any]:
    return {
        "frame_id": frame.frame_id,
        "drive_id": frame.drive_id,
        "queue": frame.queue,
        "control": frame.control,
        "labels": _canonical(frame_labels_json(frame.labels)),
        "labeller": frame.labeller,
        "label_time": frame.label_time.astimezone(UTC),
        "sequence": frame.sequence,
        "crops": frame.crops,
        "record": frame.record,
    }


def _frame(row: dict[str, Any]) -> LabelledFrame:
    return LabelledFrame(
        labels=frame_labels_from(row["frame_id"], json.loads(row["labels"])),
        drive_id=row["drive_id"],
        queue=row["queue"],
        labeller=row["labeller"],
        label_time=row["label_time"],
        sequence=row["sequence"],
        crops=row["crops"],
        record=row["record"],
    )


def _canonical(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False, sort_keys=True, separators=(",", ":"))
