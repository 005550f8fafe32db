"""Frame records whose clouds lie on disk."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from quandary import Box3D, Calibration, Frame, FrameLabels, FrameRecord, ImageBox, Label, Proposal, convert
from quandary_server.storage.frame_log import LogRecord

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


def labelled_record(
    calibration: Calibration, folder: Path, frame_id: str, drive_id: str, rng: np.random.Generator, at_s: float = 0.0
) -> tuple[FrameRecord, FrameLabels]:
    """Return a frame with a car, a pedestrian and an empty proposal, and its labels; cars shine, pedestrians do not."""
    car = _placed("Car", (4.0, 1.7, 1.5), rng, left=True)
    pedestrian = _placed("Pedestrian", (0.8, 0.6, 1.8), rng, left=False)
    points = np.concatenate([_surface(car.box, 0.9, rng), _surface(pedestrian.box, 0.1, rng)]).astype(np.float32)
    boxes = [calibration.project_box(label.box) for label in (car, pedestrian)]
    proposals = [Proposal(box) for box in boxes if box is not None]
    left, top = rng.uniform([450, 20], [700, 60]).tolist()
    proposals.append(Proposal(ImageBox(left, top, left + 60, top + 60)))
    frame = Frame(frame_id, calibration, proposals, points=points)
    return record_of(frame, folder, drive_id, at_s), FrameLabels(frame_id, (car, pedestrian))


def _placed(class_name: str, extents: tuple[float, float, float], rng: np.random.Generator, *, left: bool) -> Label:
    x, y = rng.uniform(12, 30), rng.uniform(2.5, 6.0) * (1 if left else -1)
    return Label(class_name, Box3D(x, y, -0.8, *extents, rng.uniform(-0.5, 0.5)), truncation=0.0, occlusion=0)


def _surface(box: Box3D, intensity: float, rng: np.random.Generator) -> NDArray[np.float64]:
    corners = box.corners()
    low, high = corners.min(axis=0), corners.max(axis=0)
    return np.column_stack([rng.uniform(low, high, (120, 3)), np.full(120, intensity)])
