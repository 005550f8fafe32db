"""Intervals of differences between two sets of values that have nothing to do with each other."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from quandary_server.evaluation.bootstrap import expanded_interval

Array = NDArray[np.float64]


def difference_interval(
    first: Array,
    first_groups: Sequence[str],
    second: Array,
    second_groups: Sequence[str],
    rng: np.random.Generator,
    draws: int = 2000,
    level: float = 0.95,
) -> tuple[float, float]:
    """Return the central interval of mean(first) - mean(second), values (N,) and (M,), each resampled by its own groups.

    Whole groups are drawn, as by `paired_interval`; the interval is expanded for the side that has fewer of them. Raises
    ValueError for fewer than 2 groups on a side.
    """
    means, count = _drawn_means(first, first_groups, rng, draws)
    other_means, other_count = _drawn_means(second, second_groups, rng, draws)
    return expanded_interval(means - other_means, min(count, other_count), level)


def _drawn_means(values: Array, groups: Sequence[str], rng: np.random.Generator, draws: int) -> tuple[Array, int]:
    """Return the means (draws,) of values whose groups are drawn, and the number of groups."""
    _, which = np.unique(np.asarray(groups), return_inverse=True)
    sums, sizes = np.bincount(which, weights=values), np.bincount(which)
    drawn = rng.integers(0, len(sums), size=(draws, len(sums)))
    return sums[drawn].sum(axis=1) / sizes[drawn].sum(axis=1), len(sums)
