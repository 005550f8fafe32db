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


def macro_recall_interval(
    truth: NDArray[np.integer],
    predicted: NDArray[np.integer],
    classes: Sequence[int],
    groups: Sequence[str],
    rng: np.random.Generator,
    draws: int = 2000,
    level: float = 0.95,
) -> tuple[float, float]:
    """Return the central interval of the macro recall over `classes`, of truth and predictions (N,), resampled by group (N,).

    A draw's mean is over the classes that occur in it.
    """
    _, which = np.unique(np.asarray(groups), return_inverse=True)
    count = int(which.max()) + 1
    # (groups, classes)
    total = np.stack([np.bincount(which, weights=truth == c, minlength=count) for c in classes], axis=1)
    right = np.stack([np.bincount(which, weights=(truth == c) & (predicted == c), minlength=count) for c in classes], axis=1)
    drawn = rng.integers(0, count, size=(draws, count))
    totals, rights = total[drawn].sum(axis=1), right[drawn].sum(axis=1)
    recalls = np.divide(rights, totals, out=np.full(totals.shape, np.nan), where=totals > 0)
    means = np.nanmean(recalls[(totals > 0).any(axis=1)], axis=1)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def grouping(drives: Sequence[str], frames: Sequence[str]) -> Sequence[str]:
    """Return what to resample by: drives, or frames where there are fewer than MIN_GROUPS drives."""
    return drives if len(set(drives)) >= MIN_GROUPS else frames
