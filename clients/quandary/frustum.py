"""Cutting the LiDAR points inside a 2D box's frustum out of a cloud."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from quandary.geometry import Calibration, Floats, ImageBox

__all__ = ["BOX_GROWTH", "crop_frusta"]

BOX_GROWTH = 1.1
"""Both sides of a proposal are multiplied by this before the frustum is cut: 2D boxes are tight, calibration is not exact."""

BOXES_AT_ONCE = 16
"""A byte of memory for each of them and each point ahead."""


def crop_frusta(points: NDArray[np.float32], calibration: Calibration, boxes: Sequence[ImageBox]) -> list[NDArray[np.float32]]:
    """Return for each box the points in the frustum of the box grown by BOX_GROWTH, in the cloud's order.

    points: float32 (N, 4), x, y, z in metres in the LiDAR frame and intensity. Each crop: float32 (n_i, 4), n_i >= 0.
    """
    rows, u, v = calibration.project_ahead(points)

    crops: list[NDArray[np.float32]] = []
    for start in range(0, len(boxes), BOXES_AT_ONCE):
        crops += _cut(points, rows, u, v, boxes[start : start + BOXES_AT_ONCE])
    return crops


def _cut(
    points: NDArray[np.float32], rows: NDArray[np.intp], u: Floats, v: Floats, boxes: Sequence[ImageBox]
) -> list[NDArray[np.float32]]:
    """Return the crops of K boxes; u, v (M,): where the points of these rows appear.

    All boxes by the same few calls: each of them lets other threads have the interpreter, and has to wait for it again.
    """
    grown = [box.grown(BOX_GROWTH) for box in boxes]
    left, top, right, bottom = np.array([(box.left_px, box.top_px, box.right_px, box.bottom_px) for box in grown]).T[:, :, None]
    inside = u >= left  # (K, M)
    inside &= u < right
    inside &= v >= top
    inside &= v < bottom
    found = np.flatnonzero(inside)
    ends = np.searchsorted(found, len(rows) * np.arange(1, len(boxes)))
    return np.split(points.take(rows.take(found % max(len(rows), 1)), axis=0), ends)
