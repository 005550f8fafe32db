"""Intervals by resampling."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

MIN_GROUPS = 8
"""Fewer groups than this give no honest interval by group."""


def paired_interval(
    differences: Array, groups: Sequence[str], rng: np.random.Generator, draws: int = 2000, level: float = 0.95
) -> tuple[float, float]:
    """Return the central interval of the mean of paired differences (N,), resampled by group (N,).

    Whole groups are drawn (the objects of a frame, or the frames of a drive, are not independent), each weighing by its size.
    """
    _, which = np.unique(np.asarray(groups), return_inverse=True)
    sums, sizes = np.bincount(which, weights=differences), np.bincount(which)
    drawn = rng.integers(0, len(sums), size=(draws, len(sums)))
    means = sums[drawn].sum(axis=1) / sizes[drawn].sum(axis=1)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def grouping(drives: Sequence[str], frames: Sequence[str]) -> Sequence[str]:
    """Return what to resample by: drives, or frames where there are fewer than MIN_GROUPS drives."""
    return drives if len(set(drives)) >= MIN_GROUPS else frames
