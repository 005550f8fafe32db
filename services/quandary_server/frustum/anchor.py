"""The frustum's own frame: the detector regresses boxes relative to an anchor on the ray through the proposal."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from quandary.errors import InvalidArgument
from quandary.geometry import Box3D, Calibration, ImageBox

BOX_PARAMETERS = ("along", "across", "up", "log_length", "log_width", "log_height", "yaw")
"""The 7 parameters that carry a variance; offsets in metres, yaw in radians."""

REGRESSED = 10
"""The 10 regressed values: the first six parameters, then sine and cosine of twice the yaw relative to the frustum's axis, and
of the yaw itself. The LiDAR hardly tells an object's front from its back: twice the yaw is the same for both, so that what
cannot be told does not blur the axis; the yaw itself only decides between the axis's two ends."""

AXIS, HEADING = slice(6, 8), slice(8, 10)
"""Where they stand: of twice the yaw, and of the yaw."""

MIN_EXTENT_M, MAX_EXTENT_M = 0.05, 60.0

MIN_LEVEL = 0.1
"""Least horizontal over vertical part of a frustum's axis: 84 degrees."""

MAX_OFFSET_M = 500.0

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Axes:
    """Rays through the centres of D proposals: origin (3,), direction (D, 3), horizontal bearing (D,) in radians."""

    origin: Array
    direction: Array
    bearing: Array

    def along(self, points: Array, which: NDArray[np.intp]) -> Array:
        """Return the horizontal distance (N,) of points (N, 3) along the axis `which` (N,) of each."""
        return points[:, 0] * np.cos(self.bearing)[which] + points[:, 1] * np.sin(self.bearing)[which]


@dataclass(frozen=True)
class Anchors:
    """Where D frustums put their origin: centre (D, 3) in metres in the LiDAR frame, bearing (D,) in radians."""

    centre: Array
    bearing: Array

    def __len__(self) -> int:
        return len(self.bearing)

    def take(self, which: NDArray[np.intp] | slice) -> "Anchors":
        """Return those at indices or of a slice."""
        return Anchors(self.centre[which], self.bearing[which])

    @staticmethod
    def joined(parts: Sequence["Anchors"]) -> "Anchors":
        """Return the anchors of several frames, one after the other."""
        centres = np.concatenate([np.empty((0, 3)), *(p.centre for p in parts)])
        return Anchors(centres, np.concatenate([np.empty(0), *(p.bearing for p in parts)]))


def proposal_axes(calibration: Calibration, boxes: Sequence[ImageBox], per_proposal: int = 1) -> Axes:
    """Return the axes of the frustums of image boxes; raises InvalidArgument for one that is too steep to have a bearing.

    per_proposal: how many boxes in a row belong to one proposal, for the error to name it.
    """
    pixels = [((box.left_px + box.right_px) / 2, (box.top_px + box.bottom_px) / 2) for box in boxes]
    origin, direction = calibration.rays(np.array(pixels).reshape(-1, 2))
    level = np.hypot(direction[:, 0], direction[:, 1])
    steep = np.flatnonzero(~(level > MIN_LEVEL * np.abs(direction[:, 2])))
    if len(steep):
        raise InvalidArgument.of(
            f"proposals[{steep[0] // per_proposal}].box", "seen along a vertical ray", "within 84 degrees of the horizontal"
        )
    return Axes(origin, direction, np.arctan2(direction[:, 1], direction[:, 0]))


def anchors_at(axes: Axes, along_m: Array) -> Anchors:
    """Return the points (D, 3) of the axes at horizontal distances `along_m` (D,) from the sensor."""
    cos, sin = np.cos(axes.bearing), np.sin(axes.bearing)
    start = axes.origin[0] * cos + axes.origin[1] * sin
    pace = axes.direction[:, 0] * cos + axes.direction[:, 1] * sin
    steps = (along_m - start) / pace
    return Anchors(axes.origin + steps[:, None] * axes.direction, axes.bearing)


def encode_box(box: Box3D, centre: Array, bearing: float) -> Array:
    """Return the 10 regressed values of a box relative to one anchor: centre (3,) in metres and bearing in radians."""
    offset, cos, sin = box.centre - centre, np.cos(bearing), np.sin(bearing)
    along, across = cos * offset[0] + sin * offset[1], cos * offset[1] - sin * offset[0]
    yaw = box.yaw_rad - bearing
    axis_and_heading = [np.sin(2 * yaw), np.cos(2 * yaw), np.sin(yaw), np.cos(yaw)]
    return np.array([along, across, offset[2], *np.log(box.extents), *axis_and_heading])


def yaws(values: Array) -> Array:
    """Return the yaws (...) in radians of regressed values (..., 10), from the frustum's axis: the heading's end of it."""
    axis = np.arctan2(values[..., 6], values[..., 7]) / 2
    heading = np.arctan2(values[..., 8], values[..., 9])
    return np.asarray(np.where(np.cos(axis - heading) < 0, axis + np.pi, axis))


def decoded(values: Array, anchors: Anchors) -> Array:
    """Return the boxes (..., D, 7) of regressed values (..., D, 10) in the LiDAR frame, as Box3D has its fields.

    Extents are held to [0.05, 60] m; the inverse of `encode_box`.
    """
    cos, sin = np.cos(anchors.bearing), np.sin(anchors.bearing)
    x = anchors.centre[:, 0] + cos * values[..., 0] - sin * values[..., 1]
    y = anchors.centre[:, 1] + sin * values[..., 0] + cos * values[..., 1]
    z = anchors.centre[:, 2] + values[..., 2]
    extents = np.exp(np.clip(values[..., 3:6], np.log(MIN_EXTENT_M), np.log(MAX_EXTENT_M)))
    turned = yaws(values) + anchors.bearing
    yaw = np.arctan2(np.sin(turned), np.cos(turned))
    return np.concatenate([np.stack([x, y, z], axis=-1), extents, yaw[..., None]], axis=-1)


def decode_boxes(values: Array, anchors: Anchors) -> list[Box3D]:
    """Return the boxes of regressed values (D, 10), as `decoded` does."""
    return [Box3D(*row) for row in decoded(values, anchors).tolist()]
