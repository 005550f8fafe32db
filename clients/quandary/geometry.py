"""Boxes, calibration and projection. The LiDAR frame has x forward, y left, z up, in metres."""

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

from quandary.errors import InvalidArgument

__all__ = ["NEAR_PLANE_M", "Box3D", "Calibration", "Floats", "ImageBox"]

Floats = NDArray[np.floating]

NEAR_PLANE_M = 0.1
MAX_IMAGE_PX = 16_384
MAX_IMAGE_COORDINATE_PX = 1e6
MIN_IMAGE_BOX_PX = 1e-3
MAX_RANGE_M = 1_000.0
MIN_EXTENT_M, MAX_EXTENT_M = 0.01, 100.0
ROTATION_TOLERANCE = 1e-3

MIN_FOCAL_PX, MAX_FOCAL_PX = 1.0, 1e6
MAX_PRINCIPAL_POINT_PX = 1e6
MAX_PROJECTION_OFFSET = 1e7
"""Of the projection's last column: pixels times metres."""


@dataclass(frozen=True, slots=True)
class ImageBox:
    """An axis-aligned box in pixels; raises InvalidArgument unless within +-1e6, and at least 0.001 wide and high."""

    left_px: float
    top_px: float
    right_px: float
    bottom_px: float

    def __post_init__(self) -> None:
        for name in ("left_px", "top_px", "right_px", "bottom_px"):
            value = getattr(self, name)
            if not abs(value) <= MAX_IMAGE_COORDINATE_PX:
                raise InvalidArgument.of(name, value, f"finite, within +-{MAX_IMAGE_COORDINATE_PX:g}")
        for low, high, extent in (("left_px", "right_px", self.width_px), ("top_px", "bottom_px", self.height_px)):
            if not extent >= MIN_IMAGE_BOX_PX:
                bound = f"at least {MIN_IMAGE_BOX_PX:g} below {high} ({getattr(self, high):g})"
                raise InvalidArgument.of(low, getattr(self, low), bound)

    @property
    def width_px(self) -> float:
        """Width in pixels."""
        return self.right_px - self.left_px

    @property
    def height_px(self) -> float:
        """Height in pixels."""
        return self.bottom_px - self.top_px

    @property
    def area_px(self) -> float:
        """Area in square pixels."""
        return self.width_px * self.height_px

    def grown(self, factor: float) -> "ImageBox":
        """Return the box about the same centre with both sides multiplied by `factor`, cut off at +-1e6."""
        dx, dy = (factor - 1) / 2 * self.width_px, (factor - 1) / 2 * self.height_px
        most = MAX_IMAGE_COORDINATE_PX
        return ImageBox(
            max(self.left_px - dx, -most),
            max(self.top_px - dy, -most),
            min(self.right_px + dx, most),
            min(self.bottom_px + dy, most),
        )

    def clipped(self, width_px: int, height_px: int) -> "ImageBox | None":
        """Return the part inside an image of this size, or None if there is none (or less than 0.001 px of it)."""
        left, right = max(self.left_px, 0.0), min(self.right_px, float(width_px))
        top, bottom = max(self.top_px, 0.0), min(self.bottom_px, float(height_px))
        return _image_box(left, top, right, bottom)

    def reaches_into(self, width_px: int, height_px: int) -> bool:
        """Return whether a part is inside an image of this size: `clipped` without the box."""
        across = min(self.right_px, width_px) - max(self.left_px, 0.0)
        down = min(self.bottom_px, height_px) - max(self.top_px, 0.0)
        return min(across, down) >= MIN_IMAGE_BOX_PX

    def overlap_px(self, other: "ImageBox") -> float:
        """Return the area of the intersection in square pixels."""
        width = min(self.right_px, other.right_px) - max(self.left_px, other.left_px)
        height = min(self.bottom_px, other.bottom_px) - max(self.top_px, other.top_px)
        return max(width, 0.0) * max(height, 0.0)

    def iou(self, other: "ImageBox") -> float:
        """Return the intersection over union with another box, in [0, 1]."""
        overlap = self.overlap_px(other)
        return overlap / (self.area_px + other.area_px - overlap)


@dataclass(frozen=True, slots=True)
class Box3D:
    """A 7-DoF box in the LiDAR frame: centre, extents along and across the heading and upwards, heading about +z.

    Raises InvalidArgument unless finite, the centre within 1000 m, the extents in [0.01, 100] m and yaw in [-pi, pi].
    """

    x_m: float
    y_m: float
    z_m: float
    length_m: float
    width_m: float
    height_m: float
    yaw_rad: float

    def __post_init__(self) -> None:
        for name in ("x_m", "y_m", "z_m"):
            if not abs(getattr(self, name)) <= MAX_RANGE_M:
                raise InvalidArgument.of(name, getattr(self, name), f"finite, within +-{MAX_RANGE_M:g} m")
        for name in ("length_m", "width_m", "height_m"):
            if not MIN_EXTENT_M <= getattr(self, name) <= MAX_EXTENT_M:
                raise InvalidArgument.of(name, getattr(self, name), f"in [{MIN_EXTENT_M:g}, {MAX_EXTENT_M:g}] m")
        if not abs(self.yaw_rad) <= np.pi + 1e-6:
            raise InvalidArgument.of("yaw_rad", self.yaw_rad, "in [-pi, pi]")

    @property
    def centre(self) -> NDArray[np.float64]:
        """Centre (3,) in metres."""
        return np.array([self.x_m, self.y_m, self.z_m])

    @property
    def extents(self) -> NDArray[np.float64]:
        """Length, width and height (3,) in metres."""
        return np.array([self.length_m, self.width_m, self.height_m])

    def corners(self) -> NDArray[np.float64]:
        """Return the corners (8, 3) in metres: the four of the bottom counter-clockwise, then those of the top."""
        along = np.array([1, -1, -1, 1, 1, -1, -1, 1]) * self.length_m / 2
        across = np.array([1, 1, -1, -1, 1, 1, -1, -1]) * self.width_m / 2
        up = np.array([-1, -1, -1, -1, 1, 1, 1, 1]) * self.height_m / 2
        cos, sin = np.cos(self.yaw_rad), np.sin(self.yaw_rad)
        return np.stack([cos * along - sin * across, sin * along + cos * across, up], axis=1) + self.centre

    def contains(self, points: Floats) -> NDArray[np.bool_]:
        """Return which of the points (N, >= 3) lie in the box, (N,)."""
        offset = points[:, :3] - self.centre
        cos, sin = np.cos(self.yaw_rad), np.sin(self.yaw_rad)
        along = cos * offset[:, 0] + sin * offset[:, 1]
        across = cos * offset[:, 1] - sin * offset[:, 0]
        excess = np.abs(np.stack([along, across, offset[:, 2]])) - self.extents[:, None] / 2
        inside: NDArray[np.bool_] = np.all(excess <= 0, axis=0)
        return inside


@dataclass(frozen=True, eq=False)
class Calibration:
    """How LiDAR points reach pixels: `projection` (3, 4) after the rigid `lidar_to_camera` (3, 4).

    The projection is that of a rectified pinhole camera, [[fx, s, cx, .], [0, fy, cy, .], [0, 0, 1, .]]. Raises InvalidArgument
    for a wrong shape, a non-finite value, another form, an absurd camera, a rotation that is none (to 1e-3), or a LiDAR more
    than 1000 m from the camera.
    """

    projection: NDArray[np.float64] = field(repr=False)
    lidar_to_camera: NDArray[np.float64] = field(repr=False)
    image_width_px: int
    image_height_px: int

    def __post_init__(self) -> None:
        for name in ("projection", "lidar_to_camera"):
            object.__setattr__(self, name, _matrix(name, getattr(self, name)))
        for name in ("image_width_px", "image_height_px"):
            if not 1 <= getattr(self, name) <= MAX_IMAGE_PX:
                raise InvalidArgument.of(name, getattr(self, name), f"1 to {MAX_IMAGE_PX}")
        _check_projection(self.projection)
        rotation = self.lidar_to_camera[:, :3]
        with np.errstate(over="ignore", invalid="ignore"):  # what overflows, or is NaN then, is no rotation either
            error = float(np.abs(rotation @ rotation.T - np.eye(3)).max())
        if not error <= ROTATION_TOLERANCE or np.linalg.det(rotation) < 0:
            raise InvalidArgument.of(
                "lidar_to_camera", f"off a rotation by {error:.3g}", f"a rotation to within {ROTATION_TOLERANCE:g}"
            )
        distance_m = float(np.abs(self.lidar_to_camera[:, 3]).max())
        if not distance_m <= MAX_RANGE_M:
            raise InvalidArgument.of("lidar_to_camera", f"a translation of {distance_m:g}", f"within +-{MAX_RANGE_M:g} m")

    @property
    def focal_px(self) -> tuple[float, float]:
        """Focal lengths across and down in pixels."""
        return float(self.projection[0, 0]), float(self.projection[1, 1])

    @cached_property
    def lidar_to_image(self) -> NDArray[np.float64]:
        """LiDAR points in metres to pixels times depth (3, 4): both matrices in one."""
        to_camera: NDArray[np.float64] = np.vstack([self.lidar_to_camera, [0.0, 0.0, 0.0, 1.0]])
        return np.asarray(self.projection @ to_camera, dtype=np.float64)

    def project(self, points: Floats) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Project LiDAR points (N, >= 3) in metres to pixels (N, 2) and camera depth (N,) in metres.

        Pixels of points behind the near plane (0.1 m) are meaningless: look at the depth. Elementwise on purpose: a matrix
        product rounds differently by batch size, and equal requests must get equal bytes.
        """
        x, y, z = (points[:, axis].astype(np.float64) for axis in range(3))
        u, v, depth = (row[0] * x + row[1] * y + row[2] * z + row[3] for row in self.lidar_to_image)
        safe = np.where(np.abs(depth) < NEAR_PLANE_M, NEAR_PLANE_M, depth)
        return np.stack([u / safe, v / safe], axis=1), depth

    def project_ahead(self, points: Floats) -> tuple[NDArray[np.intp], NDArray[np.float64], NDArray[np.float64]]:
        """Return which LiDAR points (N, >= 3) lie beyond the near plane, as rows (M,), and the pixels u, v (M,) they reach.

        The pixels of `project` to the bit, without computing those that mean nothing: most of a cloud lies behind the camera.
        """
        columns = np.ascontiguousarray(points[:, :3].T, dtype=np.float64)
        (depth,) = _along(self.lidar_to_image[2:], columns)
        rows = np.flatnonzero(depth > NEAR_PLANE_M)
        ahead, depth = columns.take(rows, axis=1), depth.take(rows)
        pixels = _along(self.lidar_to_image[:2], ahead)
        pixels /= depth
        return rows, pixels[0], pixels[1]

    def rays(self, pixels: Floats) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return camera centre (3,) and directions (N, 3) of pixels (N, 2) in the LiDAR frame, one metre deep each.

        Elementwise, as `project` is.
        """
        inverse = np.linalg.inv(self.lidar_to_image[:, :3])
        centre = -inverse @ self.lidar_to_image[:, 3]
        u, v = pixels[:, 0], pixels[:, 1]
        return centre, np.stack([row[0] * u + row[1] * v + row[2] for row in inverse], axis=1)

    def project_box(self, box: Box3D) -> ImageBox | None:
        """Return the image box around a 3D box's corners, clipped to the image; None if it is out of view."""
        pixels, depth = self.project(box.corners())
        if (depth < NEAR_PLANE_M).any():
            return self._project_box_across_near_plane(box)
        return self._around(pixels)

    def _project_box_across_near_plane(self, box: Box3D) -> ImageBox | None:
        corners = box.corners()
        depth = self.project(corners)[1]
        edges = [(0, 1), (1, 2), (2, 3), (3, 0), (4, 5), (5, 6), (6, 7), (7, 4), (0, 4), (1, 5), (2, 6), (3, 7)]
        visible = [corners[i] for i in range(8) if depth[i] >= NEAR_PLANE_M]
        for a, b in edges:
            if (depth[a] < NEAR_PLANE_M) != (depth[b] < NEAR_PLANE_M):
                share = (NEAR_PLANE_M - depth[a]) / (depth[b] - depth[a])
                visible.append(corners[a] + share * (corners[b] - corners[a]))
        return self._around(self.project(np.array(visible))[0]) if visible else None

    def _around(self, pixels: Floats) -> ImageBox | None:
        (left, top), (right, bottom) = pixels.min(axis=0), pixels.max(axis=0)
        left, right = np.clip([left, right], -1.0, self.image_width_px + 1.0)
        top, bottom = np.clip([top, bottom], -1.0, self.image_height_px + 1.0)
        around = _image_box(float(left), float(top), float(right), float(bottom))
        return around.clipped(self.image_width_px, self.image_height_px) if around else None


def _along(rows: NDArray[np.float64], columns: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return rows (K, 4) times points given as x, y and z (3, N) with a 1 each: (K, N), added up in the order of `project`."""
    x, y, z = columns
    of_x, of_y, of_z, offset = rows.T[:, :, None]
    total = np.asarray(of_x * x)
    term = of_y * y
    total += term
    np.multiply(of_z, z, out=term)
    total += term
    total += offset
    return total


def _image_box(left_px: float, top_px: float, right_px: float, bottom_px: float) -> ImageBox | None:
    """Return the box of these edges, or None where nothing worth the name is between them."""
    large = min(right_px - left_px, bottom_px - top_px) >= MIN_IMAGE_BOX_PX
    return ImageBox(left_px, top_px, right_px, bottom_px) if large else None


def _check_projection(projection: NDArray[np.float64]) -> None:
    """Raise InvalidArgument unless it is K [I | t] of a camera that can be."""
    (focal_x, skew, centre_x, _), (shear, focal_y, centre_y, _), (*bottom, _) = projection.tolist()
    if [shear, *bottom] != [0.0, 0.0, 0.0, 1.0]:
        found = ", ".join(f"{value:g}" for value in (shear, *bottom))
        raise InvalidArgument.of("projection", f"{found} at [1, 0] and [2, :3]", "0, 0, 0, 1: a rectified pinhole camera")
    entries = [
        ("focal length", focal_x, MIN_FOCAL_PX, MAX_FOCAL_PX),
        ("focal length", focal_y, MIN_FOCAL_PX, MAX_FOCAL_PX),
        ("skew", skew, -focal_x, focal_x),
        ("principal point", centre_x, -MAX_PRINCIPAL_POINT_PX, MAX_PRINCIPAL_POINT_PX),
        ("principal point", centre_y, -MAX_PRINCIPAL_POINT_PX, MAX_PRINCIPAL_POINT_PX),
        *(("last column", value, -MAX_PROJECTION_OFFSET, MAX_PROJECTION_OFFSET) for value in projection[:, 3].tolist()),
    ]
    for name, value, low, high in entries:
        if not low <= value <= high:
            raise InvalidArgument.of("projection", f"{name} {value:g}", f"in [{low:g}, {high:g}]")


def _matrix(name: str, value: ArrayLike) -> NDArray[np.float64]:
    matrix = np.asarray(value, dtype=np.float64)
    if matrix.size != 12:
        raise InvalidArgument.of(name, f"{matrix.size} values", "12 values (3 x 4, row-major)")
    if not np.isfinite(matrix).all():
        raise InvalidArgument.of(name, "not finite", "finite")
    return matrix.reshape(3, 4)
