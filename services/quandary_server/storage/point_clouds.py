"""Foxglove's PointCloud (foxglove.dev/docs/schemas/point-cloud) and the clouds that the detector takes."""

from collections.abc import Mapping

import numpy as np
from foxglove_schemas_protobuf.PackedElementField_pb2 import PackedElementField
from foxglove_schemas_protobuf.PointCloud_pb2 import PointCloud
from numpy.typing import NDArray

from quandary.clouds import ROW_BYTES
from quandary.errors import InvalidArgument
from quandary.frames import check_points

__all__ = ["points_of", "sweep_message"]

TYPES = {
    PackedElementField.UINT8: "u1",
    PackedElementField.INT8: "i1",
    PackedElementField.UINT16: "<u2",
    PackedElementField.INT16: "<i2",
    PackedElementField.UINT32: "<u4",
    PackedElementField.INT32: "<i4",
    PackedElementField.FLOAT32: "<f4",
    PackedElementField.FLOAT64: "<f8",
}
COORDINATES = ("x", "y", "z")
INTENSITIES = ("intensity", "reflectance", "reflectivity")


def points_of(cloud: PointCloud, name: str) -> NDArray[np.float32]:
    """Return the points (N, 4): x, y, z in metres in the frame of reference of the cloud, and intensity in [0, 1].

    Whole numbers as intensity are taken as shares of their type's largest; a cloud without intensity has 0 throughout.
    name: what errors call the cloud. Raises InvalidArgument for fields that are missing, of an unknown type or outside of a
    point, bytes that make no whole points, and points that are not sound.
    """
    stride, data = cloud.point_stride, cloud.data  # each look at a message's bytes copies them
    if not stride or len(data) % stride:
        raise InvalidArgument.of(name, f"{len(data)} bytes", f"a multiple of point_stride ({stride}), above 0")
    fields = {field.name: field for field in cloud.fields}
    if missing := [axis for axis in COORDINATES if axis not in fields]:
        raise InvalidArgument.of(f"{name}.fields", f"no {missing[0]}", "x, y and z")
    shine = next((fields[of] for of in INTENSITIES if of in fields), None)
    if _is_rows(cloud, fields, shine):
        return check_points(name, np.frombuffer(data, "<f4").reshape(-1, 4).astype(np.float32, copy=False))
    columns = [_column(data, stride, fields[axis], name) for axis in COORDINATES]
    points = np.zeros((len(data) // stride, 4), np.float32)
    for i, column in enumerate(columns):
        points[:, i] = column
    if shine is not None:
        points[:, 3] = _share(_column(data, stride, shine, name))
    if _moved(cloud):
        points[:, :3] = _in_reference(np.column_stack(columns).astype(np.float64), cloud)
    return check_points(name, points)


def sweep_message(rows: bytes, stamp_ns: int, frame_of_reference: str) -> PointCloud:
    """Return the message of a cloud of float32 rows x, y, z, intensity, whose bytes it takes as they are."""
    kind = PackedElementField.FLOAT32
    fields = [PackedElementField(name=name, offset=4 * i, type=kind) for i, name in enumerate((*COORDINATES, "intensity"))]
    cloud = PointCloud(frame_id=frame_of_reference, point_stride=ROW_BYTES, fields=fields, data=rows)
    cloud.timestamp.FromNanoseconds(stamp_ns)
    cloud.pose.orientation.w = 1.0
    return cloud


def _is_rows(cloud: PointCloud, fields: Mapping[str, PackedElementField], shine: PackedElementField | None) -> bool:
    """Return whether the bytes are what the detector takes, as `sweep_message` makes them: no column needs to be moved."""
    if shine is None or cloud.point_stride != ROW_BYTES or _moved(cloud):
        return False
    laid_out = [(fields[axis].offset, fields[axis].type) for axis in COORDINATES]
    return [*laid_out, (shine.offset, shine.type)] == [(4 * i, PackedElementField.FLOAT32) for i in range(4)]


def _column(data: bytes, stride: int, field: PackedElementField, name: str) -> NDArray[np.generic]:
    kind = TYPES.get(field.type)
    if kind is None:
        raise InvalidArgument.of(f"{name}.fields[{field.name}].type", field.type, "a numeric type")
    dtype = np.dtype(kind)
    if field.offset + dtype.itemsize > stride:
        bound = f"at most point_stride - {dtype.itemsize} ({stride - dtype.itemsize})"
        raise InvalidArgument.of(f"{name}.fields[{field.name}].offset", field.offset, bound)
    if not data:
        return np.zeros(0, dtype)
    return np.ndarray((len(data) // stride,), dtype, data, field.offset, (stride,))


def _share(intensity: NDArray[np.generic]) -> NDArray[np.generic]:
    kind = intensity.dtype
    if kind.kind not in "iu":
        return intensity
    share: NDArray[np.float64] = intensity.astype(np.float64) / (2 ** (8 * kind.itemsize - (kind.kind == "i")) - 1)
    return share


def _moved(cloud: PointCloud) -> bool:
    origin, turn = cloud.pose.position, cloud.pose.orientation
    return any((origin.x, origin.y, origin.z, turn.x, turn.y, turn.z))


def _in_reference(positions: NDArray[np.float64], cloud: PointCloud) -> NDArray[np.float64]:
    """Return positions (N, 3) moved by the pose of the cloud's origin."""
    origin, turn = cloud.pose.position, cloud.pose.orientation
    w, axis = turn.w, np.array([turn.x, turn.y, turn.z])
    if axis.any():
        norm = w * w + axis @ axis
        if not abs(norm - 1) <= 1e-3:
            raise InvalidArgument.of("pose.orientation", f"a quaternion of squared norm {norm:g}", "a unit quaternion")
        cross = 2 * np.cross(axis, positions)
        positions = positions + w * cross + np.cross(axis, cross)
    moved: NDArray[np.float64] = positions + np.array([origin.x, origin.y, origin.z])
    return moved
