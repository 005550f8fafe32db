"""Intervals by resampling."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Array = NDArray[np.float64]

MIN_DRIVES = 8
"""Fewer drives than this are not resampled: the frames are."""

MIN_GROUPS = 5
"""Fewer groups than this tell nothing: a gate that has no more is undetermined."""


MAX_UNTOLD = 0.05
"""Of draws, the share that may tell nothing of a figure."""


def expanded_interval(drawn: Array, groups: int, level: float) -> tuple[float, float]:
    """Return the expanded percentile interval of drawn figures (B,) over so many groups (Hesterberg 2015, arXiv 1411.5279).

    Plain percentiles are too narrow by sqrt((n - 1) / n) and by normal for t quantiles: much, where groups are few.
    """
    if groups < 2:
        raise ValueError(f"an interval needs at least 2 groups, there is {groups}")
    tail = stats.norm.cdf(np.sqrt(groups / (groups - 1)) * stats.t.ppf((1 - level) / 2, groups - 1))
    low, high = np.quantile(drawn, [tail, 1 - tail])
    return float(low), float(high)


def paired_interval(
    differences: Array, groups: Sequence[str], rng: np.random.Generator, draws: int = 2000, level: float = 0.95
) -> tuple[float, float]:
    """Return the central interval of the mean of paired differences (N,), resampled by group (N,).

    Whole groups are drawn (the objects of a frame, or the frames of a drive, are not independent), each weighing by its size.
    Raises ValueError for fewer than 2 groups.
    """
    _, which = np.unique(np.asarray(groups), return_inverse=True)
    sums, sizes = np.bincount(which, weights=differences), np.bincount(which)
    drawn = rng.integers(0, len(sums), size=(draws, len(sums)))
    means = sums[drawn].sum(axis=1) / sizes[drawn].sum(axis=1)
    return expanded_interval(means, len(sums), level)


def resampled_interval(
    figure: Callable[[NDArray[np.intp]], float | None],
    groups: Sequence[str],
    rng: np.random.Generator,
    draws: int = 1000,
    level: float = 0.95,
) -> tuple[float, float] | None:
    """Return the central interval of any figure of values (N,) that is computed anew from each resample, by group (N,).

    figure: takes the drawn indices, and gives None where these tell nothing. None where that is so for more than a twentieth of
    the draws; the others are left out. Raises ValueError for fewer than 2 groups.
    """
    _, which = np.unique(np.asarray(groups), return_inverse=True)
    count = int(which.max()) + 1
    parts = np.split(np.argsort(which, kind="stable"), np.cumsum(np.bincount(which))[:-1])
    drawn = rng.integers(0, count, size=(draws, count))
    found = [figure(np.concatenate([parts[group] for group in draw])) for draw in drawn]
    told = np.array([value for value in found if value is not None])
    return expanded_interval(told, count, level) if len(told) >= (1 - MAX_UNTOLD) * draws else None


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

    A draw's mean is over the classes that occur in it. Raises ValueError for fewer than 2 groups.
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
    return expanded_interval(means, count, level)


def grouping(drives: Sequence[str], frames: Sequence[str]) -> Sequence[str]:
    """Return what to resample by: drives, or frames where there are fewer than MIN_DRIVES drives."""
    return drives if len(set(drives)) >= MIN_DRIVES else frames
