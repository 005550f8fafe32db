from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from quandary.errors import InvalidArgument, NotFound
from quandary_server.datasets.clouds import read_cloud
from quandary_server.datasets.kitti import KittiFolder

Edit = Callable[[str, str, str], None]


def test_frames_come_in_drive_order_and_by_split(folder: Path) -> None:
    kitti = KittiFolder(folder)
    assert [entry.frame_id for entry in kitti.frames()] == ["000003", "000002", "000001"]
    assert [entry.frame_id for entry in kitti.frames(split="pool")] == ["000002", "000001"]
    assert kitti.frames(split="control") == []
    with pytest.raises(InvalidArgument, match="pool, control, evaluation"):
        kitti.frames(split="test")


def test_a_frame_is_read_with_all_that_belongs_to_it(folder: Path) -> None:
    frame = KittiFolder(folder).read("000001")
    assert (frame.frame_id, frame.drive_id, frame.split) == ("000001", "b", "pool")
    (label,) = frame.labels.labels
    assert (label.class_name, label.truncation, label.occlusion) == ("Car", 0.25, 1)
    np.testing.assert_allclose(label.box.centre, [20.0, 3.0, -1.0], atol=1e-3)
    assert len(frame.label_boxes) == len(frame.labels.ignored_regions) == len(frame.detections) == 1
    assert read_cloud(frame.cloud_path).shape == (2, 4)
    assert frame.image_path is None


def test_stamps_grow_in_drive_order_by_a_tenth_of_a_second_a_sweep(folder: Path) -> None:
    kitti = KittiFolder(folder)
    stamps = [kitti.read(entry.frame_id).stamp for entry in kitti.frames()]
    assert stamps[0] == datetime(2011, 9, 26, 0, 0, 0, 500_000, UTC)
    assert stamps[1] == datetime(2011, 9, 26, 1, tzinfo=UTC)
    assert stamps[2] - stamps[1] == timedelta(seconds=1)


def test_frames_without_detections_have_none(folder: Path) -> None:
    assert KittiFolder(folder).read("000002").detections == ()


def test_an_image_is_named_and_gives_the_size(folder: Path) -> None:
    image = folder / "training" / "image_2" / "000001.png"
    image.parent.mkdir()
    image.write_bytes(b"\x89PNG\r\n\x1a\n" + b"\x00\x00\x00\rIHDR" + (1000).to_bytes(4, "big") + (300).to_bytes(4, "big"))
    frame = KittiFolder(folder).read("000001")
    assert frame.image_path == image
    assert (frame.calibration.image_width_px, frame.calibration.image_height_px) == (1000, 300)


def test_an_unknown_frame_is_not_found(folder: Path) -> None:
    with pytest.raises(NotFound, match="999999"):
        KittiFolder(folder).read("999999")


@pytest.mark.parametrize("name", ["velodyne/000001.bin", "label_2/000001.txt", "calib/000001.txt"])
def test_a_missing_file_is_refused_by_name_and_its_neighbours_are_read(folder: Path, name: str) -> None:
    (folder / "training" / name).unlink()
    kitti = KittiFolder(folder)
    with pytest.raises(InvalidArgument, match=f"{name} is missing"):
        kitti.read("000001")
    assert kitti.read("000002").frame_id == "000002"


def test_a_malformed_label_is_refused_by_file_and_line(folder: Path, edit: Edit) -> None:
    edit("label_2/000001.txt", "DontCare", "Elephant")
    with pytest.raises(InvalidArgument) as error:
        KittiFolder(folder).read("000001")
    assert error.value.violations[0].field == "label_2/000001.txt:2"


def test_a_file_that_is_no_text_is_refused_by_name(folder: Path) -> None:
    (folder / "training" / "label_2" / "000001.txt").write_bytes(b"Car \xff\xfe")
    with pytest.raises(InvalidArgument, match=r"label_2/000001\.txt is no UTF-8 at byte 4"):
        KittiFolder(folder).read("000001")
