"""MCAP files as a fleet writes them, and as they break."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
from mcap.writer import CompressionType
from mcap_protobuf.writer import Writer
from numpy.typing import NDArray

from quandary import Calibration, FrameRecord, convert
from quandary_server.storage.mcap_reference import McapReference
from quandary_server.storage.mcap_writer import CLOUD_TOPIC, RECORD_TOPIC
from quandary_server.storage.point_clouds import sweep_message
from support.records import START

NANOSECONDS = 10**9


def cloud_of(number: int, points: int = 50) -> NDArray[np.float32]:
    """Return points (N, 4) that no other number has."""
    rng = np.random.default_rng(number)
    return np.column_stack([rng.uniform([5, -20, -2], [60, 20, 2], (points, 3)), rng.random(points)]).astype(np.float32)


class FleetFile:
    """A file with a cloud and a record for each number added, a chunk for each; not finished unless told so."""

    def __init__(self, path: Path, calibration: Calibration, compression: CompressionType = CompressionType.LZ4) -> None:
        self.path, self._calibration = path, calibration
        self._file = path.open("wb")
        self._writer = Writer(self._file, chunk_size=1, compression=compression)

    def add(self, *numbers: int, drive_id: str = "drive") -> "FleetFile":
        """Add frames f<number>; a chunk is as large as a message, since it is closed behind each."""
        for number in numbers:
            stamp = START + timedelta(seconds=number)
            time = int(stamp.timestamp()) * NANOSECONDS
            self._writer.write_message(CLOUD_TOPIC, sweep_message(cloud_of(number).tobytes(), time, "lidar"), time, time)
            uri = McapReference(CLOUD_TOPIC, time).uri()
            record = FrameRecord(f"f{number}", drive_id, stamp, uri, self._calibration)
            self._writer.write_message(RECORD_TOPIC, convert.record_message(record), time, time)
        self._file.flush()
        return self

    def add_other(self, message: Any, topic: str = "/other") -> "FleetFile":
        """Add a message of another schema."""
        self._writer.write_message(topic, message, 0, 0)
        self._file.flush()
        return self

    def attach(self, data: bytes) -> "FleetFile":
        """Add an attachment, as a vehicle's calibration is."""
        self._writer._writer.add_attachment(0, 0, "calibration", "application/octet-stream", data)
        self._file.flush()
        return self

    def finish(self) -> Path:
        """Write index and end."""
        self._writer.finish()  # type: ignore[no-untyped-call]
        self._file.close()
        return self.path


def now() -> datetime:
    return datetime.now(UTC)
