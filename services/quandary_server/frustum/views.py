"""How the camera sees boxes: of many objects, each with its frame's calibration, at once."""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from quandary.geometry import MIN_IMAGE_BOX_PX, NEAR_PLANE_M, Calibration, ImageBox

Array = NDArray[np.float64]

ALONG = np.array([1, -1, -1, 1, 1, -1, -1, 1]) / 2
ACROSS = np.array([1, 1, -1, -1, 1, 1, -1, -1]) / 2
UP = np.array([-1, -1, -1, -1, 1, 1, 1, 1]) / 2
"""The corners in shares of length, width and height, in the order of Box3D's."""

EDGES = np.array([(0, 1), (1, 2), (2, 3), (3, 0), (4, 5), (5, 6), (6, 7), (7, 4), (0, 4), (1, 5), (2, 6), (3, 7)]).T


@dataclass(frozen=True)
class Views:
    """The proposals of D objects and what their cameras make of the LiDAR frame.

    projection (D, 3, 4): LiDAR points in metres to pixels times depth; image (D, 2): width and height in pixels; proposals
    (D, 4): left, top, right and bottom, the part inside the image.
    """

    projection: Array
    image: Array
    proposals: Array

    def take(self, which: NDArray[np.intp] | slice) -> "Views":
        """Return those at indices or of a slice."""
        return Views(*(getattr(self, field.name)[which] for field in fields(self)))

    @staticmethod
    def joined(parts: Sequence["Views"]) -> "Views":
        """Return the views of several frames (at least one), one after the other."""
        return Views(*(np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(Views)))


def proposal_views(calibration: Calibration, boxes: Sequence[ImageBox]) -> Views:
    """Return the views of the proposals of one frame, each of which overlaps the image."""
    count = len(boxes)
    image = np.array([calibration.image_width_px, calibration.image_height_px], np.float64)
    edges = np.array([(box.left_px, box.top_px, box.right_px, box.bottom_px) for box in boxes]).reshape(-1, 4)
    return Views(
        np.repeat(calibration.lidar_to_image[None], count, axis=0),
        np.repeat(image[None], count, axis=0),
        np.clip(edges, 0.0, np.tile(image, 2)),
    )


def image_boxes(boxes: Array, views: Views) -> Array:
    """Return the image boxes (..., D, 4) around 3D boxes (..., D, 7), clipped to the image; zeros where out of view.

    As Calibration.project_box has it, which does one box. Elementwise: no box depends on its neighbours, to the bit.
    """
    corners = _corners(boxes)
    pixels, depth = _project(corners, views)
    seen = depth >= NEAR_PLANE_M
    if not seen.all():
        cuts, cut = _cut_edges(corners, depth)
        pixels = np.concatenate([pixels, _project(cuts, views)[0]], axis=-2)
        seen = np.concatenate([seen, cut], axis=-1)
    low = np.where(seen[..., None], pixels, np.inf).min(axis=-2)
    high = np.where(seen[..., None], pixels, -np.inf).max(axis=-2)
    low, high = np.clip(low, 0.0, views.image), np.clip(high, 0.0, views.image)
    found = np.concatenate([low, high], axis=-1)
    return np.asarray(np.where((high - low >= MIN_IMAGE_BOX_PX).all(axis=-1)[..., None], found, 0.0))


def image_overlaps(first: Array, second: Array) -> Array:
    """Return the intersection over union (...) of image boxes (..., 4) of which at most one has no area."""
    extent = np.minimum(first[..., 2:], second[..., 2:]) - np.maximum(first[..., :2], second[..., :2])
    shared = np.maximum(extent, 0.0).prod(axis=-1)
    areas = (first[..., 2:] - first[..., :2]).prod(axis=-1) + (second[..., 2:] - second[..., :2]).prod(axis=-1)
    return np.asarray(shared / (areas - shared))


def _corners(boxes: Array) -> Array:
    """Return the corners (..., 8, 3) of boxes (..., 7)."""
    x, y, z, length, width, height, yaw = (boxes[..., i, None] for i in range(7))
    along, across, cos, sin = length * ALONG, width * ACROSS, np.cos(yaw), np.sin(yaw)
    return np.stack([x + cos * along - sin * across, y + sin * along + cos * across, z + height * UP], axis=-1)


def _project(points: Array, views: Views) -> tuple[Array, Array]:
    """Return pixels (..., D, K, 2) and depth (..., D, K) in metres of points (..., D, K, 3)."""
    x, y, z = (points[..., axis] for axis in range(3))
    rows = views.projection[:, :, :, None]
    u, v, depth = (rows[:, i, 0] * x + rows[:, i, 1] * y + rows[:, i, 2] * z + rows[:, i, 3] for i in range(3))
    safe = np.where(np.abs(depth) < NEAR_PLANE_M, NEAR_PLANE_M, depth)
    return np.stack([u / safe, v / safe], axis=-1), depth


def _cut_edges(corners: Array, depth: Array) -> tuple[Array, NDArray[np.bool_]]:
    """Return where edges meet the near plane (..., 12, 3), and which do so (..., 12)."""
    start, end = (corners[..., ends, :] for ends in EDGES)
    before, after = (depth[..., ends] for ends in EDGES)
    cut = (before < NEAR_PLANE_M) != (after < NEAR_PLANE_M)
    share = (NEAR_PLANE_M - before) / np.where(cut, after - before, 1.0)
    return start + share[..., None] * (end - start), cut
