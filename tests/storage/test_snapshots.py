"""Label snapshots: written whole, read back, known by the digest of what they say."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from quandary.errors import CorruptArtefact, InvalidArgument, NotFound, Unavailable
from quandary.geometry import Box3D, ImageBox
from quandary.labels import FrameLabels, Label
from quandary_server.storage.label_values import LabelledFrame
from quandary_server.storage.snapshots import read_snapshot, snapshot_digest, write_snapshot

NOW = datetime(2026, 1, 1, 12, 0, 0, 123456, tzinfo=UTC)
CAR = Label("Car", Box3D(10, 2, -1, 4, 1.6, 1.5, 0.1), truncation=0.1, occlusion=0)


def frame(frame_id: str, *labels: Label, queue: str = "active") -> LabelledFrame:
    region = ImageBox(0, 0, 10.5, 5)
    given = FrameLabels(frame_id, labels, (region,), timedelta(seconds=61.5), "g1")
    return LabelledFrame(given, "drive-1", queue, "Zoë", NOW, sequence=7, crops=4, record=b"\x00\xff")


FRAMES = (frame("f000", CAR), frame("f001"), frame("f002", CAR, CAR, queue="control"))


def test_a_snapshot_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    written = write_snapshot(tmp_path / "new" / "labels.parquet", FRAMES)
    assert written.frames == FRAMES
    assert read_snapshot(tmp_path / "new" / "labels.parquet") == written
    assert [found.control for found in written.frames] == [False, False, True]
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["labels.parquet"]


def test_a_snapshot_can_be_empty(tmp_path: Path) -> None:
    written = write_snapshot(tmp_path / "labels.parquet", ())
    assert read_snapshot(tmp_path / "labels.parquet") == written


def test_the_digest_is_of_the_content_and_stays_the_same_for_ever() -> None:
    digest = snapshot_digest(FRAMES)
    assert digest == "c5f66072486b62748bb92cbcde1154d94a137d50b971c1665678703f5eb62687"
    assert snapshot_digest(FRAMES[::-1]) == digest
    elsewhere = replace(FRAMES[0], label_time=NOW.astimezone(timezone(timedelta(hours=2))))
    assert snapshot_digest((elsewhere, *FRAMES[1:])) == digest


@pytest.mark.parametrize(
    "change",
    [
        {"record": b"\x00"},
        {"labeller": "Zoe"},
        {"queue": "control"},
        {"drive_id": "drive-2"},
        {"crops": 5},
        {"label_time": NOW + timedelta(microseconds=1)},
        {"labels": FrameLabels("f000", (CAR,))},
        {"labels": FrameLabels("f000", (replace(CAR, occlusion=1),), FRAMES[0].labels.ignored_regions)},
    ],
)
def test_every_change_changes_the_digest(change: dict[str, object]) -> None:
    changed = replace(FRAMES[0], **change)  # type: ignore[arg-type]
    assert snapshot_digest((changed, *FRAMES[1:])) != snapshot_digest(FRAMES)


def test_a_frame_given_twice_is_refused_and_nothing_written(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match="f001 twice"):
        write_snapshot(tmp_path / "labels.parquet", (FRAMES[1], FRAMES[0], FRAMES[1]))
    assert list(tmp_path.iterdir()) == []


def test_a_failed_write_leaves_what_was_there_and_no_part(tmp_path: Path) -> None:
    in_the_way = tmp_path / "labels.parquet"
    (in_the_way / "kept").mkdir(parents=True)
    with pytest.raises(Unavailable, match=r"labels\.parquet cannot be written: Is a directory"):
        write_snapshot(in_the_way, FRAMES)
    assert list(tmp_path.iterdir()) == [in_the_way]
    assert (in_the_way / "kept").is_dir()


def test_a_tampered_snapshot_fails_its_digest(tmp_path: Path) -> None:
    path = tmp_path / "labels.parquet"
    write_snapshot(path, FRAMES)
    table = pq.read_table(path)
    pq.write_table(table.slice(1), path)
    with pytest.raises(CorruptArtefact, match="digest"):
        read_snapshot(path)


def test_a_torn_or_foreign_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "labels.parquet"
    write_snapshot(path, FRAMES)
    whole = path.read_bytes()
    for torn in (whole[: len(whole) // 2], b"", b"PAR1PAR1", whole[:-1]):
        path.write_bytes(torn)
        with pytest.raises(CorruptArtefact, match=r"labels\.parquet"):
            read_snapshot(path)
    songs = pa.table({"songs": ["Kalinka"]})
    pq.write_table(songs, path)
    with pytest.raises(CorruptArtefact, match=r"labels\.parquet"):
        read_snapshot(path)


def test_a_missing_snapshot_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=r"labels\.parquet"):
        read_snapshot(tmp_path / "labels.parquet")
