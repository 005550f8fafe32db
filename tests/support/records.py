"""Frame records whose clouds lie on disk."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np

from quandary import Box3D, Frame, FrameLabels, FrameRecord, Label, convert
from quandary_server.storage.fleet_log import LogRecord

START = datetime(2026, 1, 1, tzinfo=UTC)


def record_of(frame: Frame, folder: Path, drive_id: str = "drive", at_s: float = 0.0) -> FrameRecord:
    """Write the frame's cloud and return its record."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{frame.frame_id}.bin"
    assert frame.points is not None
    path.write_bytes(np.ascontiguousarray(frame.points, "<f4").tobytes())
    stamp = START + timedelta(seconds=at_s)
    return FrameRecord(frame.frame_id, drive_id, stamp, path.resolve().as_uri(), frame.calibration, frame.proposals)


def log_record(record: FrameRecord) -> LogRecord:
    """Return the record as it stands in a fleet log."""
    return LogRecord(record.frame_id, convert.record_message(record).SerializeToString())


def some_labels(frame_id: str) -> FrameLabels:
    """Return a car and a pedestrian."""
    car = Label("Car", Box3D(20.0, 1.0, -0.8, 4.0, 1.7, 1.5, 0.1), truncation=0.0, occlusion=1)
    return FrameLabels(frame_id, (car, Label("Pedestrian", Box3D(12.0, -3.0, -0.8, 0.8, 0.6, 1.8, 2.0))))
