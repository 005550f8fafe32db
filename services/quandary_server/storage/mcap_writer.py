"""Publishes to a directory of MCAP files: records with their clouds, a file complete or not there."""

import os
import uuid
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import BinaryIO

import numpy as np
from google.protobuf.message import DecodeError
from mcap.writer import CompressionType
from mcap_protobuf.writer import Writer

from quandary.errors import InvalidArgument, Unavailable
from quandary.v1 import fleet_log_pb2
from quandary_server.files import make_directory, sync_directory
from quandary_server.storage.blobs import read_cloud
from quandary_server.storage.frame_log import LogRecord
from quandary_server.storage.mcap_reference import McapReference
from quandary_server.storage.point_clouds import sweep_message

__all__ = ["CLOUD_TOPIC", "RECORD_TOPIC", "McapLogWriter"]

RECORD_TOPIC = "/quandary/frames"
CLOUD_TOPIC = "/lidar/points"
FRAME_OF_REFERENCE = "lidar"
CHUNK_BYTES = 2**18
"""A cloud or few: whoever wants one has to unpack the chunk that it is in."""


class McapLogWriter:
    """Writes records behind their clouds, which they then refer to inside the file.

    A file is written under a name that nobody watches, and gets its own once it is finished and synced. The next is begun
    once one has `rotate_bytes`; a chunk may come on top.
    """

    def __init__(self, directory: Path, compression: str, rotate_bytes: int) -> None:
        """Publish to a directory, which is made if there is none; compression: lz4 or zstd."""
        self._directory, self._rotate_bytes = directory, rotate_bytes
        self._compression = CompressionType[compression.upper()]
        self._run = uuid.uuid4().hex[:8]
        self._count = self._files = 0
        self._open: tuple[Path, BinaryIO, Writer] | None = None
        make_directory(directory)

    def append(self, records: Sequence[LogRecord], *, now: datetime) -> None:
        """Append records with their clouds; they are there for readers once their file is finished.

        Raises InvalidArgument for a payload that is no FrameRecord, what `read_cloud` raises for a cloud that cannot be read,
        Unavailable where the file cannot be written.
        """
        for record in records:
            message = fleet_log_pb2.FrameRecord()
            try:
                message.ParseFromString(record.payload)
            except DecodeError:
                raise InvalidArgument.of("payload", f"{len(record.payload)} bytes", "a quandary.v1.FrameRecord") from None
            try:
                self._write(message, now)
            except OSError as error:
                raise Unavailable(f"the file in {self._directory} cannot be written: {error.strerror}") from error

    def close(self) -> None:
        """Finish the file that is open."""
        if self._open is None:
            return
        path, file, writer = self._open
        self._open = None
        try:
            writer.finish()  # type: ignore[no-untyped-call]
            file.flush()
            os.fsync(file.fileno())
            file.close()
            path.rename(path.with_suffix(""))  # .part
            sync_directory(self._directory)
        except OSError as error:
            raise Unavailable(f"{path} cannot be finished: {error.strerror}") from error

    def _write(self, message: fleet_log_pb2.FrameRecord, now: datetime) -> None:
        _, file, writer = self._open or self._begin(now)
        self._count += 1
        now_ns = int(now.timestamp() * 1e9)
        log_time = max(message.stamp.ToNanoseconds(), 0) if message.HasField("stamp") else now_ns
        if message.cloud_uri.startswith("file:"):
            rows = np.ascontiguousarray(read_cloud(message.cloud_uri), "<f4").tobytes()
            cloud = sweep_message(rows, log_time, FRAME_OF_REFERENCE)
            writer.write_message(CLOUD_TOPIC, cloud, log_time, now_ns, self._count)  # now: published again it is no copy
            message.cloud_uri = McapReference(CLOUD_TOPIC, log_time, self._count).uri()
        writer.write_message(RECORD_TOPIC, message, log_time, now_ns, self._count)
        if file.tell() >= self._rotate_bytes:
            self.close()

    def _begin(self, now: datetime) -> tuple[Path, BinaryIO, Writer]:
        self._files += 1
        name = f"{now:%Y%m%dT%H%M%S}-{self._run}-{self._files:04d}.mcap.part"
        path = self._directory / name
        file = path.open("xb")
        self._open = (
            path,
            file,
            Writer(file, chunk_size=min(CHUNK_BYTES, self._rotate_bytes // 4), compression=self._compression),
        )
        return self._open
