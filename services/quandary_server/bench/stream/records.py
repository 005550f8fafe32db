"""A fleet log full of records, whose clouds are few files that many refer to."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np

from quandary import convert
from quandary.frames import Frame
from quandary.records import EgoPose, FrameRecord
from quandary_server.bench.frames import whole_frame
from quandary_server.bench.progress import Told
from quandary_server.clock import now
from quandary_server.selector.open_log import log_writer
from quandary_server.settings import Settings
from quandary_server.storage.frame_log import LogRecord

POINTS, SMALL_POINTS = 20_000, 2_000
PROPOSALS = 8
CLOUDS = 64
FRAMES_PER_DRIVE = 200
START = datetime(2026, 1, 1, tzinfo=UTC)
BATCH = 1_000


def fill_log(settings: Settings, count: int, points: int, told: Told) -> None:
    """Publish so many records as the settings say, ten frames a second and `FRAMES_PER_DRIVE` a drive."""
    records = frame_records(settings.data / "clouds", points)
    with log_writer(settings) as writer:
        for start in range(0, count, BATCH):
            told("filling a log", start, count)
            batch = [next(records) for _ in range(min(BATCH, count - start))]
            writer.append([logged(record) for record in batch], now=now())


def frame_records(folder: Path, points: int) -> Iterator[FrameRecord]:
    """Yield records without end; their clouds of so many points are written to the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    kinds = [_kind(folder, seed, points) for seed in range(CLOUDS)]
    number = 0
    while True:
        drive, step = divmod(number, FRAMES_PER_DRIVE)
        yield replace(
            kinds[number % CLOUDS],
            frame_id=f"f{number:08d}",
            drive_id=f"drive-{drive:05d}",
            stamp=START + timedelta(hours=drive, seconds=step / 10),
            ego_pose=EgoPose(1.2 * step, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0),
        )
        number += 1


def logged(record: FrameRecord) -> LogRecord:
    """Return the record as it stands in a log."""
    return LogRecord(record.frame_id, convert.record_message(record).SerializeToString(), record.drive_id)


def _kind(folder: Path, seed: int, points: int) -> FrameRecord:
    frame = whole_frame(PROPOSALS, max(points, POINTS), seed)
    path = folder / f"{seed:03d}.bin"
    assert frame.points is not None
    np.ascontiguousarray(frame.points[:points], "<f4").tofile(path)
    return _record(frame, path)


def _record(frame: Frame, path: Path) -> FrameRecord:
    tags = {"weather": "clear", "city": "bench"}
    return FrameRecord("f", "d", START, path.resolve().as_uri(), frame.calibration, frame.proposals, tags=tags)
