"""Drift of scores, in closed form."""

import numpy as np
import pytest

from quandary_server.evaluation.drift import PERMUTATIONS, drift, population_stability_index

LEVELS = np.repeat(np.arange(10.0), 1000)
"""Ten values, a thousand of each: a bin of the index for each."""


def test_equal_shares_have_no_distance_whatever_the_counts_and_the_order() -> None:
    assert population_stability_index(LEVELS, LEVELS) == 0.0
    assert population_stability_index(LEVELS, LEVELS[::-2]) == pytest.approx(0.0, abs=1e-4)
    assert population_stability_index(np.ones(70), np.ones(70)) == 0.0


def test_the_index_is_the_sum_over_ten_bins() -> None:
    # half of the scores move from one bin into another: (q - p) ln(q / p) at 0.05 and 0.15 for 0.1
    live = LEVELS.copy()
    live[:500] = 9.0
    expected = 0.05 * np.log(2) + 0.05 * np.log(1.5)
    assert population_stability_index(LEVELS, live) == pytest.approx(expected, abs=1e-3)


def test_what_lies_beyond_all_that_was_seen_counts() -> None:
    above = population_stability_index(LEVELS, np.full(1000, 99.0))
    assert above > 5
    assert np.isfinite(above)
    assert population_stability_index(LEVELS, np.full(1000, -99.0)) == pytest.approx(above)


def test_no_scores_are_refused() -> None:
    with pytest.raises(ValueError, match="0 and 3 scores"):
        population_stability_index(np.empty(0), np.ones(3))


def scores(drives: int, shift: float, seed: int) -> tuple[np.ndarray, list[str]]:
    """Twenty scores of each drive, which resemble each other far more than those of two drives do."""
    rng = np.random.default_rng(seed)
    means = rng.normal(shift, 1.0, drives)
    names = [f"{seed}-{k}" for k in range(drives) for _ in range(20)]
    return np.repeat(means, 20) + rng.normal(0, 0.1, 20 * drives), names


def test_few_drives_that_differ_are_no_drift_and_many_that_moved_are() -> None:
    rng = np.random.default_rng(0)
    same = drift(*scores(6, 0.0, 1), *scores(6, 0.0, 2), rng)
    assert same.psi > 0.25
    assert same.p_value > 0.01
    moved = drift(*scores(6, 0.0, 1), *scores(6, 6.0, 2), rng)
    assert moved.psi > same.psi
    assert 1 / (1 + PERMUTATIONS) <= moved.p_value <= 0.01


def test_without_any_drift_chance_alone_is_seldom_taken_for_one() -> None:
    rng = np.random.default_rng(3)
    found = [drift(*scores(8, 0.0, 10 + k), *scores(8, 0.0, 110 + k), rng).p_value for k in range(20)]
    assert sum(p <= 0.05 for p in found) <= 4
