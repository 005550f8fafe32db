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
    # mostly bins are empty, and weigh nothing however likely they are
    rows, columns = np.nonzero(weights)
    centres = (columns + 0.5) * BIN_M
    surprise = (np.log(metres_high[rows] * centres) - np.log(USUAL_HEIGHT_M)) / HEIGHT_SPREAD
    likely = np.zeros_like(weights)
    likely[rows, columns] = weights[rows, columns] * (np.exp(-0.5 * surprise**2) + UNEXPECTED)
    best = _windows(likely).argmax(axis=1)

    found = _window(weights, best)
    depth = np.where(found > 0, _window(depths, best) / np.where(found > 0, found, 1.0), unseen_m)
    return depth, _window(points, best).astype(np.int64)


def _sums(cells: NDArray[np.intp], values: Array, count: int) -> Array:
    return np.bincount(cells, values, count * BINS).astype(np.float64).reshape(count, BINS)


def _windows(values: Array) -> Array:
    """Return the sums (D, BINS) over WINDOW_BINS bins from each on."""
    sums = values.copy()
    for i in range(1, WINDOW_BINS):
        sums[:, :-i] += values[:, i:]
    return sums


def _window(values: Array, start: NDArray[np.intp]) -> Array:
    """Return the sum (D,) over WINDOW_BINS bins from one on in each row, as `_windows` has it."""
    rows, sums = np.arange(len(values)), np.zeros(len(values))
    for i in range(WINDOW_BINS):
        inside = np.minimum(start + i, BINS - 1)
        sums += np.where(start + i < BINS, values[rows, inside], 0.0)
    return sums
