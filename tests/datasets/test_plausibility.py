"""Labels that cannot be are told by field, value and bound; all that real people drew can be."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from quandary import LABEL_CLASSES, Box3D, InvalidArgument, Label
from quandary_server.datasets.clouds import read_cloud
from quandary_server.datasets.kitti import KittiFolder
from quandary_server.datasets.plausibility import SIZES_M, Extent, check_plausible

CAR = Label("Car", Box3D(20.0, 1.0, -0.8, 4.0, 1.7, 1.5, 0.1))
EXTENT = Extent(np.array([0.0, -40.0, -3.0]), np.array([80.0, 40.0, 3.0]))


def moved(label: Label, **changes: float) -> Label:
    return replace(label, box=replace(label.box, **changes))


def violations(*labels: Label, extent: Extent | None = EXTENT) -> list[tuple[str, str, str]]:
    with pytest.raises(InvalidArgument) as caught:
        check_plausible(labels, extent)
    return [(v.field, v.value, v.bound) for v in caught.value.violations]


def test_what_can_be_passes() -> None:
    check_plausible([], EXTENT)
    check_plausible([CAR], None)
    check_plausible([CAR, moved(CAR, x_m=25.0), moved(CAR, y_m=3.0)], EXTENT)


def test_every_class_has_its_sizes() -> None:
    assert set(SIZES_M) == set(LABEL_CLASSES)
    for class_name, ranges in SIZES_M.items():
        for ends in zip(*ranges, strict=True):
            check_plausible([Label(class_name, Box3D(20.0, 0.0, 0.0, *ends, 0.0))], None)


@pytest.mark.parametrize(
    ("field", "value", "bound"),
    [
        ("length_m", 12.5, "in [1.5, 8] m for a Car"),
        ("width_m", 0.4, "in [0.8, 3] m for a Car"),
        ("height_m", 4.9, "in [0.8, 3.5] m for a Car"),
    ],
)
def test_an_absurd_size_is_told_with_the_bound_of_its_class(field: str, value: float, bound: str) -> None:
    wrong = moved(CAR, **{field: value})
    assert violations(moved(CAR, x_m=40.0), wrong) == [(f"labels[1].box.{field}", f"{value:g}", bound)]


@pytest.mark.parametrize(
    ("field", "inside", "outside", "bound"),
    [
        ("x_m", 91.0, 93.0, "[-10.0, 90.0] m ahead of the LiDAR, the points and 10 m"),
        ("y_m", -50.5, -52.0, "[-50.0, 50.0] m to the left of the LiDAR, the points and 10 m"),
        ("z_m", 5.5, 6.0, "[-5.0, 5.0] m above the LiDAR, the points and 2 m"),
    ],
)
def test_a_box_that_does_not_reach_the_points_by_their_margin_is_outside(
    field: str, inside: float, outside: float, bound: str
) -> None:
    check_plausible([moved(CAR, **{field: inside})], EXTENT)
    ((name, value, said),) = violations(moved(CAR, **{field: outside}))
    assert (name, value) == (f"labels[0].box.{field}", f"{outside:g}")
    assert said == f"so that the box reaches into {bound} around them"
    check_plausible([moved(CAR, **{field: outside})], None)


def test_an_object_drawn_twice_is_told_whatever_its_class_or_heading() -> None:
    turned = moved(CAR, yaw_rad=0.1 - np.pi)
    ((field, value, bound),) = violations(CAR, replace(turned, class_name="Van"))
    assert (field, value, bound) == ("labels[1].box", "1.00 of labels[0]'s", "below 0.7 in IoU: no object twice")
    # along by a quarter of its length they share 3 of 5 quarters, by an eighth 7 of 9
    straight = moved(CAR, yaw_rad=0.0)
    check_plausible([straight, moved(straight, x_m=21.0)], EXTENT)
    assert violations(straight, moved(straight, x_m=20.5))[0][1] == "0.78 of labels[0]'s"


def test_all_that_is_wrong_is_told_at_once() -> None:
    fields = [field for field, _, _ in violations(CAR, moved(CAR, length_m=9.0, width_m=9.0), moved(CAR, x_m=200.0), CAR)]
    assert fields == ["labels[1].box.length_m", "labels[1].box.width_m", "labels[2].box.x_m", "labels[3].box"]


def test_the_extent_is_that_of_the_points() -> None:
    points = np.array([[1, 2, 3, 0.5], [-1, 5, 0, 0.1]], np.float32)
    extent = Extent.of(points)
    assert extent is not None
    assert (extent.low.tolist(), extent.high.tolist()) == ([-1, 2, 0], [1, 5, 3])
    assert Extent.of(points[:0]) is None


def test_all_labels_of_the_real_frames_can_be(kitti: Path) -> None:
    folder = KittiFolder(kitti)
    for entry in folder.frames():
        frame = folder.read(entry.frame_id)
        check_plausible(frame.labels.labels, Extent.of(read_cloud(frame.cloud_path)))
