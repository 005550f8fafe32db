"""What is published to an MCAP directory: whole files with records and clouds, or nothing."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from mcap.reader import make_reader
from support.mcap_files import cloud_of
from support.records import log_record, record_of

from quandary import Calibration, Frame
from quandary.errors import InvalidArgument, NotFound
from quandary.v1 import fleet_log_pb2
from quandary_server.storage.blobs import read_cloud
from quandary_server.storage.frame_log import LogRecord
from quandary_server.storage.log_settings import McapSettings
from quandary_server.storage.mcap_log import McapLog
from quandary_server.storage.mcap_writer import McapLogWriter

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def records(folder: Path, calibration: Calibration, count: int) -> list[LogRecord]:
    frames = [Frame(f"f{i}", calibration, [], points=cloud_of(i, points=500)) for i in range(count)]
    return [log_record(record_of(frame, folder, at_s=i)) for i, frame in enumerate(frames)]


@pytest.mark.parametrize("compression", ["lz4", "zstd"])
def test_files_are_rotated_and_each_is_whole(tmp_path: Path, calibration: Calibration, compression: str) -> None:
    writer = McapLogWriter(tmp_path / "log", compression, rotate_bytes=20_000)
    writer.append(records(tmp_path / "clouds", calibration, 6), now=NOW)
    writer.close()
    files = sorted((tmp_path / "log").iterdir())
    assert len(files) > 1
    assert {file.suffix for file in files} == {".mcap"}
    topics = set()
    for file in files:
        with file.open("rb") as stream:
            reader = make_reader(stream, validate_crcs=True)
            topics |= {channel.topic for _, channel, _ in reader.iter_messages()}
            summary = reader.get_summary()
            assert summary is not None
            assert {index.compression for index in summary.chunk_indexes} == {compression}
    assert topics == {"/lidar/points", "/quandary/frames"}
    log = McapLog(tmp_path / "log", McapSettings().settle, lambda: NOW)
    clouds = [fleet_log_pb2.FrameRecord.FromString(entry.payload).cloud_uri for entry in log.tail(100)]
    assert [np.array_equal(read_cloud(uri), cloud_of(i, points=500)) for i, uri in enumerate(clouds)] == [True] * 6


def test_what_is_published_again_is_read_again(tmp_path: Path, calibration: Calibration) -> None:
    found = records(tmp_path / "clouds", calibration, 2)
    for again in range(2):
        writer = McapLogWriter(tmp_path / "log", "lz4", rotate_bytes=30_000)  # a cloud fills a chunk
        writer.append(found, now=NOW + timedelta(seconds=again))
        writer.close()
    log = McapLog(tmp_path / "log", McapSettings().settle, lambda: NOW)
    assert len(log.sources()) == 2


def test_an_unfinished_file_is_nobodys(tmp_path: Path, calibration: Calibration) -> None:
    writer = McapLogWriter(tmp_path / "log", "lz4", rotate_bytes=2**30)
    writer.append(records(tmp_path / "clouds", calibration, 2), now=NOW)
    log = McapLog(tmp_path / "log", McapSettings().settle, lambda: NOW)
    assert log.sources() == ()
    writer.close()
    assert len(log.sources()) == 1


def test_what_cannot_be_published_is_named(tmp_path: Path, calibration: Calibration) -> None:
    writer = McapLogWriter(tmp_path / "log", "lz4", rotate_bytes=2**30)
    with pytest.raises(InvalidArgument, match=r"payload is 2 bytes, must be a quandary\.v1\.FrameRecord"):
        writer.append([LogRecord("f0", b"\xff\xff")], now=NOW)
    (record,) = records(tmp_path / "clouds", calibration, 1)
    (tmp_path / "clouds" / "f0.bin").unlink()
    with pytest.raises(NotFound, match=r"f0\.bin"):
        writer.append([record], now=NOW)


def test_a_writer_without_records_leaves_nothing(tmp_path: Path) -> None:
    McapLogWriter(tmp_path / "log", "lz4", rotate_bytes=2**30).close()
    assert list((tmp_path / "log").iterdir()) == []
