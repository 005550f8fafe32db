"""Cutting the LiDAR points inside a 2D box's frustum out of a cloud."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from quandary.geometry import Calibration, ImageBox

__all__ = ["BOX_GROWTH", "crop_frusta"]

BOX_GROWTH = 1.1
"""Both sides of a proposal are multiplied by this before the frustum is cut: 2D boxes are tight, calibration is not exact."""


def crop_frusta(points: NDArray[np.float32], calibration: Calibration, boxes: Sequence[ImageBox]) -> list[NDArray[np.float32]]:
    """Return for each box the points in the frustum of the box grown by BOX_GROWTH, in the cloud's order.

    points: float32 (N, 4), x, y, z in metres in the LiDAR frame and intensity. Each crop: float32 (n_i, 4), n_i >= 0.
    """
    ahead, u, v = calibration.project_ahead(points)

    crops = []
    for box in boxes:
        grown = box.grown(BOX_GROWTH)
        # most points are beside a box, and need not be held against its top and bottom
        beside = np.flatnonzero((u >= grown.left_px) & (u < grown.right_px))
        height = v.take(beside)
        inside = beside[(height >= grown.top_px) & (height < grown.bottom_px)]
        crops.append(points.take(ahead.take(inside), axis=0))
    return crops
