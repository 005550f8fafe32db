"""A watched MCAP directory: what can be read is read once, the rest is called by its name and tried again."""

import errno
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import cast

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given, settings
from hypothesis import strategies as st
from mcap.opcode import Opcode
from mcap.writer import CompressionType
from support.mcap_files import FleetFile, cloud_of

from quandary import Calibration
from quandary.errors import NotFound, Unavailable
from quandary.v1 import fleet_log_pb2
from quandary_server.storage.blobs import read_cloud
from quandary_server.storage.frame_log import LogEntry, SourceLag
from quandary_server.storage.mcap_cursor import INDEX_BITS
from quandary_server.storage.mcap_log import McapLog
from quandary_server.storage.mcap_records import framed_at
from quandary_server.storage.mcap_reference import McapReference

SETTLE = timedelta(minutes=1)


class Reader:
    """Reads a directory and keeps offsets and what was passed over, as the store does."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.offsets: dict[str, int] = {}
        self.passed: dict[str, list[int]] = {}
        self.problems: list[str] = []
        self.now = datetime.now(UTC)
        self.restart()

    def restart(self) -> None:
        self.log = McapLog(self.directory, SETTLE, lambda: self.now, lambda source: tuple(self.passed.get(source, [])))

    def new(self, limit: int = 2) -> list[str]:
        """Return the frames that are new, in the order of reading."""
        return [entry.frame_id for entry in self.entries(limit)]

    def entries(self, limit: int = 2) -> list[LogEntry]:
        found: list[LogEntry] = []
        while True:
            before = dict(self.offsets)
            for source in self.log.sources():
                batch = self.log.read(source, self.offset(source), limit)
                for entry in batch.entries:
                    if entry.problem:
                        self.problems.append(entry.problem)
                        self.passed.setdefault(source, []).append(entry.position)
                    else:
                        found.append(entry)
                if batch.position > self.offset(source):
                    self.offsets[source] = batch.position
            if self.offsets == before and not self.log.sources():
                return found

    def offset(self, source: str) -> int:
        return self.offsets.get(source, 0)

    def lag(self, name: str) -> SourceLag:
        return {lag.source: lag for lag in self.log.lags(self.offset)}[name]

    def state(self, name: str) -> str:
        return self.lag(name).state


@pytest.fixture
def reader(tmp_path: Path) -> Reader:
    (tmp_path / "log").mkdir()
    return Reader(tmp_path / "log")


@pytest.fixture
def begin(tmp_path: Path, calibration: Calibration) -> Callable[..., FleetFile]:
    """Begin a file in the directory."""

    def begun(name: str = "a.mcap", compression: CompressionType = CompressionType.LZ4) -> FleetFile:
        path = tmp_path / "log" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        return FleetFile(path, calibration, compression)

    return begun


def touch(path: Path, seconds: float = 1.0) -> None:
    """Make a file look changed to whoever watches."""
    found = path.stat()
    os.utime(path, (found.st_atime + seconds, found.st_mtime + seconds))


def chunks_of(path: Path) -> list[tuple[int, int]]:
    """Return where the chunks of a file begin and end."""
    size, found, at = path.stat().st_size, [], 8
    with path.open("rb") as file:
        while (framed := framed_at(file, at, size)) is not None and framed.opcode != Opcode.DATA_END:
            if framed.opcode == Opcode.CHUNK:
                found.append((at, framed.end))
            at = framed.end
    return found


def chunk_with(reader: Reader, path: Path, frame_id: str) -> tuple[int, int]:
    """Return where the chunk with the record of a frame begins and ends."""
    (entry,) = (entry for entry in Reader(reader.directory).entries() if entry.frame_id == frame_id)
    return next(chunk for chunk in chunks_of(path) if chunk[0] == entry.position >> INDEX_BITS)


def damage(path: Path, at: int, end: int) -> bytes:
    """Flip a byte in the data of a chunk; return the file as it was."""
    whole = path.read_bytes()
    broken = bytearray(whole)
    broken[end - 8] ^= 0xFF
    path.write_bytes(broken)
    touch(path)
    return whole


@pytest.mark.parametrize("compression", [CompressionType.LZ4, CompressionType.ZSTD, CompressionType.NONE])
def test_records_come_in_order_with_their_clouds(
    reader: Reader, begin: Callable[..., FleetFile], compression: CompressionType
) -> None:
    begin(compression=compression).add(1, 2, 3).finish()
    found = reader.entries()
    assert [entry.frame_id for entry in found] == ["f1", "f2", "f3"]
    for number, entry in enumerate(found, start=1):
        record = fleet_log_pb2.FrameRecord.FromString(entry.payload)
        assert (read_cloud(record.cloud_uri) == cloud_of(number)).all()
    assert reader.new() == []
    assert (reader.state("a.mcap"), reader.lag("a.mcap").waiting) == ("complete", 0)


def test_a_file_being_written_is_read_as_far_as_it_is_there(reader: Reader, begin: Callable[..., FleetFile]) -> None:
    file = begin().add(1, 2)
    assert reader.new() == ["f1", "f2"]
    assert reader.state("a.mcap") == "growing"
    assert (read_cloud(cloud_uri(reader, "f2")) == cloud_of(2)).all()
    file.add(3)
    assert reader.new() == ["f3"]
    file.add(4).finish()
    assert reader.new() == ["f4"]
    assert reader.state("a.mcap") == "complete"


@pytest.mark.parametrize("ending", ["growing", "cut", "whole"])
def test_a_cloud_is_found_by_topic_and_time_alone_wherever_its_file_ends(
    reader: Reader, begin: Callable[..., FleetFile], ending: str
) -> None:
    file = begin().add(1, 2, 3)
    reference = replace(McapReference.parse(cloud_uri(reader, "f2")), chunk=None, channel=None)
    if ending == "cut":
        whole = file.path.read_bytes()
        file.path.write_bytes(whole[:-20])
    elif ending == "whole":
        file.finish()
    assert (read_cloud(reference.uri()) == cloud_of(2)).all()
    with pytest.raises(NotFound, match="there is no cloud at"):
        read_cloud(replace(reference, time=1).uri())


def cloud_uri(reader: Reader, frame_id: str) -> str:
    (entry,) = (entry for entry in Reader(reader.directory).entries() if entry.frame_id == frame_id)
    return fleet_log_pb2.FrameRecord.FromString(entry.payload).cloud_uri


def test_a_file_cut_off_is_read_to_the_cut_and_called_truncated_once_nobody_writes(
    reader: Reader, begin: Callable[..., FleetFile]
) -> None:
    path = begin().add(*range(10)).finish()
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) * 6 // 10])
    found = reader.new()
    assert found == [f"f{i}" for i in range(len(found))]
    assert 0 < len(found) < 10
    assert (read_cloud(cloud_uri(reader, found[-1])) == cloud_of(len(found) - 1)).all()
    assert reader.state("a.mcap") == "growing"
    reader.now += timedelta(hours=1)
    assert reader.state("a.mcap") == "truncated"
    assert "bytes of the record at byte" in reader.lag("a.mcap").problem
    path.write_bytes(whole)
    touch(path)
    assert found + reader.new() == [f"f{i}" for i in range(10)]


def test_a_restart_goes_on_where_it_was(reader: Reader, begin: Callable[..., FleetFile]) -> None:
    file = begin().add(1, 2)
    begin("b.mcap").add(7, 8).finish()
    assert sorted(reader.new()) == ["f1", "f2", "f7", "f8"]
    reader.restart()
    assert reader.new() == []
    file.add(3)
    reader.restart()
    assert reader.new() == ["f3"]


def test_a_batch_that_was_not_applied_is_read_again(reader: Reader, begin: Callable[..., FleetFile]) -> None:
    begin().add(1, 2, 3).finish()
    (source,) = reader.log.sources()
    first = reader.log.read(source, 0, 2)
    assert reader.log.read(source, 0, 2) == first
    later = reader.log.read(source, first.position, 2)
    assert reader.log.read(source, 0, 2) == first, "the store is an older one"
    assert [entry.frame_id for entry in (*first.entries, *later.entries)] == ["f1", "f2", "f3"]


def test_a_damaged_chunk_is_passed_over_and_read_once_it_is_mended(
    reader: Reader, begin: Callable[..., FleetFile], caplog: pytest.LogCaptureFixture
) -> None:
    path = begin().add(1, 2, 3).finish()
    at, end = chunk_with(reader, path, "f2")
    whole = damage(path, at, end)
    assert reader.new() == ["f1", "f3"]
    (problem,) = reader.problems
    assert problem.startswith(f"the chunk at byte {at} of a.mcap cannot be read: ")
    assert reader.state("a.mcap") == "corrupt"
    assert "file_state" in caplog.text
    reader.restart()
    assert reader.new() == []
    assert reader.lag("a.mcap").problem == "chunks that cannot be read: 1"
    path.write_bytes(whole)
    touch(path, 2.0)
    assert reader.new() == ["f2"]
    assert reader.new() == []
    assert (reader.state("a.mcap"), reader.problems) == ("complete", [problem])


def test_a_renamed_file_is_not_read_again_and_its_clouds_are_found(reader: Reader, begin: Callable[..., FleetFile]) -> None:
    path = begin().add(1, 2).finish()
    uri = cloud_uri(reader, "f2")
    assert reader.new() == ["f1", "f2"]
    path.rename(path.with_name("z.mcap"))
    assert reader.new() == []
    assert reader.state("z.mcap") == "complete"
    assert (read_cloud(uri) == cloud_of(2)).all()


def test_of_a_file_and_its_copy_one_is_read(reader: Reader, begin: Callable[..., FleetFile]) -> None:
    path = begin().add(1, 2).finish()
    shutil.copy(path, path.with_name("b.mcap"))
    assert reader.new() == ["f1", "f2"]
    assert [reader.state("a.mcap"), reader.state("b.mcap")] == ["complete", "copy"]


def test_a_file_written_anew_under_its_name_is_another(reader: Reader, begin: Callable[..., FleetFile]) -> None:
    begin().add(1, 2).finish()
    assert reader.new() == ["f1", "f2"]
    path = begin().add(5, 6, 7).finish()
    touch(path)
    assert reader.new() == ["f5", "f6", "f7"]


@pytest.mark.parametrize("attached", [2**16 - 200, 2**16 - 100, 2**16, 2**17])
def test_files_that_begin_with_the_same_attachment_are_others(
    reader: Reader, begin: Callable[..., FleetFile], attached: int
) -> None:
    begin("a.mcap").attach(bytes(attached)).add(1, 2).finish()
    begin("b.mcap").attach(bytes(attached)).add(3).finish()
    begin("c.mcap").attach(bytes(attached)).add(4)
    assert sorted(reader.new()) == ["f1", "f2", "f3", "f4"]
    assert reader.new() == []


@pytest.mark.parametrize("by", ["rename", "rewriting"])
def test_a_file_replaced_between_looking_and_reading_is_read_as_what_it_is_then(
    reader: Reader, begin: Callable[..., FleetFile], by: str
) -> None:
    path = begin().add(*range(1, 9)).finish()
    (source,) = reader.log.sources()
    assert len(reader.log.read(source, 0, 2).entries) == 2
    other = begin("b.part").add(11, 12).finish()
    if by == "rename":
        other.rename(path)
    else:
        path.write_bytes(other.read_bytes())
        other.unlink()
    assert reader.log.read(source, 0, 9).entries == ()
    assert reader.new() == ["f11", "f12"]


def test_a_file_cut_between_looking_and_reading_is_read_once_it_is_whole(
    reader: Reader, begin: Callable[..., FleetFile]
) -> None:
    path = begin().add(*range(1, 9)).finish()
    whole = path.read_bytes()
    (source,) = reader.log.sources()
    path.write_bytes(whole[: len(whole) // 2])
    assert reader.log.read(source, 0, 9).entries == ()
    found = reader.new()
    path.write_bytes(whole)
    assert found + reader.new() == [f"f{i}" for i in range(1, 9)]


def test_what_the_system_does_not_let_us_read_is_told_and_holds_up_nothing(
    reader: Reader, begin: Callable[..., FleetFile], monkeypatch: pytest.MonkeyPatch
) -> None:
    begin().add(1).finish()
    begin("vehicle-7/b.mcap").add(2).finish()
    (reader.directory / "c.mcap").symlink_to("/proc/self/mem")  # a regular file, of which the first byte cannot be read
    (reader.directory / "d.mcap").symlink_to("nowhere")
    (reader.directory / "e.mcap").mkdir()
    scandir = os.scandir

    def broken(path: str) -> object:
        if os.fspath(path).endswith("vehicle-7"):
            raise OSError(errno.EIO, os.strerror(errno.EIO), path)
        return scandir(path)

    with monkeypatch.context() as patched:
        patched.setattr(os, "scandir", broken)
        assert reader.new() == ["f1"]
        assert [reader.state("vehicle-7"), reader.state("c.mcap")] == ["unreadable", "unreadable"]
        assert reader.lag("vehicle-7").problem == "Input/output error"
        reader.log.tail(9)
    assert reader.new() == ["f2"]


def test_what_a_file_has_become_is_found_out_again_where_the_store_was_away(
    reader: Reader, begin: Callable[..., FleetFile]
) -> None:
    file = begin().add(1)
    assert reader.new() == ["f1"]
    file.add(2)
    kept, reader.passed = reader.passed, cast("dict[str, list[int]]", Away())
    with pytest.raises(Unavailable):
        reader.log.sources()
    reader.passed = kept
    assert reader.new() == ["f2"]


class Away:
    """A store that does not answer."""

    def get(self, source: str, default: object) -> object:
        raise Unavailable("the database cannot be read now")


@pytest.mark.parametrize(
    ("content", "state", "problem"),
    [
        (b"", "empty", "it has no bytes"),
        (b"\x89MCAP", "growing", "it ends at byte 5"),
        (b"PK\x03\x04 an archive", "foreign", "it is no MCAP file"),
        (b"\x89MCAP0\r\n" + bytes(100), "growing", "there is no record at byte 8"),
    ],
)
def test_what_is_no_file_of_records_is_named(reader: Reader, content: bytes, state: str, problem: str) -> None:
    (reader.directory / "a.mcap").write_bytes(content)
    assert reader.new() == []
    lag = reader.lag("a.mcap")
    assert (lag.state, lag.problem) == (state, problem)


def test_a_file_of_other_schemas_is_foreign_and_costs_its_neighbours_nothing(
    reader: Reader, begin: Callable[..., FleetFile]
) -> None:
    begin("other.mcap").add_other(Timestamp(seconds=1)).finish()
    begin("mixed.mcap").add_other(Timestamp(seconds=1)).add(1).add_other(Timestamp(seconds=2)).finish()
    assert reader.new() == ["f1"]
    assert reader.lag("other.mcap").problem == "it has no frame records; its schemas: google.protobuf.Timestamp"
    assert [reader.state("other.mcap"), reader.state("mixed.mcap")] == ["foreign", "complete"]


def test_files_below_the_directory_are_watched_and_those_that_go_are_forgotten(
    reader: Reader, begin: Callable[..., FleetFile]
) -> None:
    path = begin("vehicle-7/a.mcap").add(1).finish()
    assert reader.new() == ["f1"]
    uri = cloud_uri(reader, "f1")
    path.unlink()
    assert reader.log.sources() == ()
    assert reader.log.lags(reader.offset) == []
    with pytest.raises(NotFound, match="no file of the cloud"):
        read_cloud(uri)
    with pytest.raises(Unavailable, match="gone"):
        reader.log.read(next(iter(reader.offsets)), 0, 1)


def test_the_tail_is_the_latest_of_all_files(reader: Reader, begin: Callable[..., FleetFile]) -> None:
    begin("a.mcap").add(1, 4).finish()
    begin("b.mcap").add(2, 3).finish()
    assert [entry.frame_id for entry in reader.log.tail(3)] == ["f2", "f3", "f4"]


def test_what_waits_is_counted_where_it_is_asked_for(reader: Reader, begin: Callable[..., FleetFile]) -> None:
    begin("a.mcap").add(1, 2, 3).finish()
    begin("b.mcap").add(4, 5)
    exact = McapLog(reader.directory, SETTLE, lambda: reader.now, exact=True)
    assert [lag.waiting for lag in exact.lags(reader.offset)] == [3, 2]
    reader.new()
    assert [lag.waiting for lag in McapLog(reader.directory, SETTLE, lambda: reader.now, exact=True).lags(reader.offset)] == [
        0,
        0,
    ]


def test_a_directory_that_goes_and_comes_back_loses_nothing(reader: Reader, begin: Callable[..., FleetFile]) -> None:
    begin().add(1, 2).finish()
    assert reader.new() == ["f1", "f2"]
    away = reader.directory.rename(reader.directory.with_name("unmounted"))
    with pytest.raises(Unavailable, match="there is no directory"):
        reader.log.sources()
    away.rename(reader.directory)
    assert reader.new() == []
    assert reader.state("a.mcap") == "complete"


@pytest.fixture(scope="module")
def six(calibration: Calibration, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A whole file of six frames."""
    path = tmp_path_factory.mktemp("six") / "a.mcap"
    return FleetFile(path, calibration).add(*range(6)).finish().read_bytes()


def read_damaged_then_mended(six: bytes, damaged: bytes, folder: Path) -> tuple[list[str], list[str]]:
    """Return the frames read of a damaged file, and then, once it is mended, those read besides."""
    path = folder / "a.mcap"
    path.write_bytes(damaged)
    reader = Reader(folder)
    before = reader.new()
    path.write_bytes(six)
    touch(path)
    return before, reader.new()


@given(share=st.floats(0, 1))
def test_wherever_a_file_is_cut_each_frame_is_read_once(six: bytes, share: float) -> None:
    with TemporaryDirectory() as folder:
        before, after = read_damaged_then_mended(six, six[: int(share * len(six))], Path(folder))
    assert before + after == [f"f{i}" for i in range(6)]


@settings(max_examples=300)
@given(at=st.floats(0, 1, exclude_max=True), flip=st.integers(1, 255))
def test_whatever_byte_is_wrong_no_frame_is_lost_once_it_is_mended(six: bytes, at: float, flip: int) -> None:
    damaged = bytearray(six)
    damaged[int(at * len(six))] ^= flip
    with TemporaryDirectory() as folder:
        before, after = read_damaged_then_mended(six, bytes(damaged), Path(folder))
    # where the file's beginning is wrong, the mended one is another file, of which all is read
    assert len(before) >= 4 or after == [f"f{i}" for i in range(6)]
    found = [frame for frame in before + after if frame]  # an index taken for a message has no frame, and is rejected
    assert after == [f"f{i}" for i in range(6)] or sorted(found) == [f"f{i}" for i in range(6)]
