"""How far away the object of a frustum stands: the depth at which its box is anchored.

The median depth of a frustum lies more than 4 m off the object for a fifth of KITTI's objects: on what is behind it, or before
it. This is the densest metre instead, seen in the middle of the proposal, and weighed by how well the proposal's height would
suit an object there. Ours, not the paper's.
"""

import numpy as np
from numpy.typing import NDArray

BIN_M = 0.25
WINDOW_BINS = 4
"""The densest metre."""

FARTHEST_M = 120.0
BINS = int(FARTHEST_M / BIN_M)

MIDDLE_WIDTH, MIDDLE_TOP, MIDDLE_BOTTOM = 0.7, 0.1, 0.9
"""Share of the proposal's width, and of its height from the top, in which the object is expected."""

USUAL_HEIGHT_M, HEIGHT_SPREAD = 1.7, 0.35
"""Median and log standard deviation of what stands in a proposal."""

UNEXPECTED = 0.02
"""Weight of a point outside of the middle, and of an unusual height, against 1."""

Array = NDArray[np.float64]


def object_depth(
    along_m: Array, place: Array, which: NDArray[np.intp], metres_high: Array, unseen_m: Array
) -> tuple[Array, NDArray[np.int64]]:
    """Return the depths (D,) of the objects in D frustums, `unseen_m` (D,) where there is no point, and the points there (D,).

    along_m (N,): horizontal distances of the points in metres; place (N, 2): where they lie in their proposal, 0 to 1 across
    and down; which (N,): their frustums; metres_high (D,): height of each proposal at a distance of 1 m. A frustum's depth
    does not depend on its neighbours, to the bit, as long as its points come in the same order.
    """
    count = len(unseen_m)
    bins = np.clip((along_m / BIN_M).astype(np.intp), 0, BINS - 1)
    middle = (np.abs(place[:, 0] - 0.5) < MIDDLE_WIDTH / 2) & (place[:, 1] > MIDDLE_TOP) & (place[:, 1] < MIDDLE_BOTTOM)
    weight = np.where(middle, 1.0, UNEXPECTED)
    cells = which * BINS + bins

    # (D, BINS)
    weights, depths, points = (_sums(cells, values, count) for values in (weight, weight * along_m, np.ones(len(cells))))
    centres = (np.arange(BINS) + 0.5) * BIN_M
    surprise = (np.log(metres_high[:, None] * centres) - np.log(USUAL_HEIGHT_M)) / HEIGHT_SPREAD
    likely = np.exp(-0.5 * surprise**2) + UNEXPECTED
    best = _windows(weights * likely).argmax(axis=1)

    rows = np.arange(count)
    found = _windows(weights)[rows, best]
    depth = np.where(found > 0, _windows(depths)[rows, best] / np.where(found > 0, found, 1.0), unseen_m)
    return depth, _windows(points)[rows, best].astype(np.int64)


def _sums(cells: NDArray[np.intp], values: Array, count: int) -> Array:
    return np.bincount(cells, values, count * BINS).astype(np.float64).reshape(count, BINS)


def _windows(values: Array) -> Array:
    """Return the sums (D, BINS) over WINDOW_BINS bins from each on."""
    padded = np.concatenate([values, np.zeros((len(values), WINDOW_BINS - 1))], axis=1)
    return np.asarray(np.sum([padded[:, i : i + BINS] for i in range(WINDOW_BINS)], axis=0))
