"""Foxglove's point clouds, as vehicles of all makes write them."""

import numpy as np
import pytest
from foxglove_schemas_protobuf.PackedElementField_pb2 import PackedElementField
from foxglove_schemas_protobuf.PointCloud_pb2 import PointCloud

from quandary.errors import InvalidArgument
from quandary_server.storage.point_clouds import points_of, sweep_message

POINTS = np.array([[1, 2, 3, 0.5], [4, 5, 6, 1.0]], np.float32)
NUMERIC = {"f4": PackedElementField.FLOAT32, "f8": PackedElementField.FLOAT64, "u1": PackedElementField.UINT8}
NUMERIC["u2"] = PackedElementField.UINT16


def cloud(*fields: tuple[str, str], rows: list[tuple[float, ...]], gap: int = 0) -> PointCloud:
    """Return a cloud of fields by name and type, with a gap of so many bytes before each."""
    offsets, at = [], 0
    for _, kind in fields:
        at += gap
        offsets.append(at)
        at += np.dtype(kind).itemsize
    names = [name for name, _ in fields]
    dtype = np.dtype({"names": names, "formats": [f"<{k}" for _, k in fields], "offsets": offsets, "itemsize": at + gap})
    packed = [PackedElementField(name=n, offset=o, type=NUMERIC[k]) for (n, k), o in zip(fields, offsets, strict=True)]
    return PointCloud(point_stride=dtype.itemsize, fields=packed, data=np.array(rows, dtype).tobytes())


def test_what_we_write_is_read_as_it_was() -> None:
    assert (points_of(sweep_message(POINTS.tobytes(), 0, "lidar"), "cloud") == POINTS).all()


def test_the_same_points_are_read_whether_or_not_they_lie_as_we_write_them() -> None:
    fields = ("x", "f4"), ("y", "f4"), ("z", "f4"), ("intensity", "f4")
    rows: list[tuple[float, ...]] = [(1.0, 2.0, 3.0, 0.5), (4.0, 5.0, 6.0, 1.0)]
    turned: list[tuple[float, ...]] = [(*row[1:], row[0]) for row in rows]
    for made in (cloud(*fields, rows=rows), cloud(*fields, rows=rows, gap=4), cloud(*fields[1:], fields[0], rows=turned)):
        assert points_of(made, "cloud").tobytes() == POINTS.tobytes()


@pytest.mark.parametrize("kind", ["f4", "f8"])
def test_a_cloud_may_have_no_points(kind: str) -> None:
    empty = cloud(("x", kind), ("y", kind), ("z", kind), rows=[])
    assert points_of(empty, "cloud").shape == (0, 4)
    empty.pose.position.x = 1.0
    assert points_of(empty, "cloud").shape == (0, 4)


def test_points_out_of_bounds_are_named_however_they_lie() -> None:
    fields = ("x", "f4"), ("y", "f4"), ("z", "f4"), ("intensity", "f4")
    for gap in (0, 4):
        with pytest.raises(InvalidArgument, match="at row 1"):
            points_of(cloud(*fields, rows=[(1.0, 2.0, 3.0, 0.5), (4.0, 5.0, 6.0, 2.0)], gap=gap), "cloud")


def test_fields_may_be_in_any_order_type_and_place() -> None:
    made = cloud(("intensity", "u1"), ("z", "f8"), ("y", "f4"), ("x", "f4"), rows=[(255, 3, 2, 1), (51, 6, 5, 4)], gap=3)
    assert np.allclose(points_of(made, "cloud"), [[1, 2, 3, 1.0], [4, 5, 6, 0.2]])


@pytest.mark.parametrize(("name", "value", "share"), [("reflectance", 65535, 1.0), ("rcs", 9, 0.0)])
def test_intensity_has_other_names_or_none(name: str, value: int, share: float) -> None:
    made = cloud(("x", "f4"), ("y", "f4"), ("z", "f4"), (name, "u2"), rows=[(1, 2, 3, value)])
    assert points_of(made, "cloud").tolist() == [[1, 2, 3, share]]


def test_the_pose_of_the_origin_moves_the_points() -> None:
    made = cloud(("x", "f4"), ("y", "f4"), ("z", "f4"), rows=[(1, 0, 0)])
    made.pose.orientation.w = made.pose.orientation.z = 0.5**0.5  # a quarter turn to the left
    made.pose.position.z = 2.0
    assert np.allclose(points_of(made, "cloud"), [[0, 1, 2, 0]])
    made.pose.orientation.w = 3.0
    with pytest.raises(InvalidArgument, match="unit quaternion"):
        points_of(made, "cloud")


def test_what_is_no_cloud_is_named() -> None:
    good = cloud(("x", "f4"), ("y", "f4"), ("z", "f4"), rows=[(1, 2, 3)])
    torn = PointCloud.FromString(good.SerializeToString())
    torn.data = good.data[:-1]
    with pytest.raises(InvalidArgument, match=r"cloud is 11 bytes, must be a multiple of point_stride \(12\)"):
        points_of(torn, "cloud")
    with pytest.raises(InvalidArgument, match=r"cloud\.fields is no z"):
        points_of(cloud(("x", "f4"), ("y", "f4"), rows=[(1, 2)]), "cloud")
    outside = PointCloud.FromString(good.SerializeToString())
    outside.fields[2].offset = 10
    with pytest.raises(InvalidArgument, match=r"cloud\.fields\[z\]\.offset is 10"):
        points_of(outside, "cloud")
    unknown = PointCloud.FromString(good.SerializeToString())
    unknown.fields[0].type = PackedElementField.UNKNOWN
    with pytest.raises(InvalidArgument, match=r"cloud\.fields\[x\]\.type"):
        points_of(unknown, "cloud")
    with pytest.raises(InvalidArgument):
        points_of(cloud(("x", "f4"), ("y", "f4"), ("z", "f4"), rows=[(np.nan, 2, 3)]), "cloud")
