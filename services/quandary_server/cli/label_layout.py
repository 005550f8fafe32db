"""Where the labels of a picture go, so that none covers another."""

import numpy as np
from numpy.typing import NDArray

__all__ = ["overlaps", "placed"]

Array = NDArray[np.float64]

DIRECTIONS = 16
STEP_SHARE = 0.6
MOST_RINGS = 60
RINGS_MORE = 8
COVERED_COST = 0.4
"""Of a pixel of something drawn that a label covers, against one of way to what it labels."""


def placed(anchors: Array, sizes: Array, bounds: Array, drawn: Array) -> Array:
    """Return the centres (N, 2) of labels near their anchors (N, 2), in the order given: who comes first is nearest to its own.

    sizes (N, 2): width and height. bounds (4,): left, bottom, right, top, which labels keep within. drawn (M, 4): boxes alike
    that labels should rather not cover. All in pixels. Labels overlap only where nothing else is left.
    """
    centres = np.zeros_like(anchors)
    taken = np.empty((0, 4))
    for i, (anchor, size) in enumerate(zip(anchors, sizes, strict=True)):
        centre = _first_free(anchor, size, bounds, drawn, taken)
        centres[i] = centre
        taken = np.vstack([taken, _box(centre[None], size)])
    return centres


def overlaps(boxes: Array, others: Array) -> Array:
    """Return the area (N, M) that each of N boxes shares with each of M; a box: left, bottom, right, top."""
    low = np.maximum(boxes[:, None, :2], others[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], others[None, :, 2:])
    return np.asarray(np.prod(np.clip(high - low, 0.0, None), axis=2))


def _first_free(anchor: Array, size: Array, bounds: Array, drawn: Array, taken: Array) -> Array:
    """Return the cheapest place of the nearest ring that has a free one and of some behind it, else the one covered least."""
    angles = np.pi / 2 + 2 * np.pi * np.arange(DIRECTIONS) / DIRECTIONS  # above first
    around = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    lowest = bounds[:2] + size / 2
    highest = np.maximum(bounds[2:] - size / 2, lowest)
    best, best_cost, rings_left = anchor, np.inf, MOST_RINGS
    for ring in range(MOST_RINGS):
        way = size * (0.5 + STEP_SHARE * ring) + size[1] * 0.5
        centres = np.clip(anchor + around * way, lowest, highest)
        boxes = _box(centres, size)
        hidden = overlaps(boxes, taken).sum(axis=1)
        far = np.linalg.norm(centres - anchor, axis=1)
        cost = far + COVERED_COST * overlaps(boxes, drawn).sum(axis=1) + np.where(hidden > 0, 1e6 + hidden, 0.0)
        k = int(np.argmin(cost))
        if cost[k] < best_cost - 1e-9:
            best, best_cost = centres[k], float(cost[k])
        if best_cost < 1e6:
            rings_left = min(rings_left, RINGS_MORE) - 1
            if rings_left == 0:
                break
    return best


def _box(centres: Array, size: Array) -> Array:
    return np.concatenate([centres - size / 2, centres + size / 2], axis=1)
