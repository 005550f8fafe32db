import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quandary_server.selection.core_set import k_centre, known, unit

NONE = np.empty((0, 1), np.float32)


def line(*places: float) -> np.ndarray:
    return np.array(places, np.float32)[:, None]


def test_each_pick_is_the_farthest_from_all_before_it() -> None:
    assert k_centre(line(0, 1, 10, 4), NONE, 4).tolist() == [0, 2, 3, 1]


def test_what_is_covered_is_kept_away_from() -> None:
    assert k_centre(line(0, 1, 10, 4), line(9, 0), 2).tolist() == [3, 1]


def test_equal_distances_go_by_row_and_copies_come_last() -> None:
    assert k_centre(line(2, 2, 0, 4, 0), NONE, 9).tolist() == [0, 2, 3, 1, 4]


def test_nothing_is_picked_of_nothing() -> None:
    assert k_centre(NONE, line(1), 3).tolist() == []
    assert k_centre(line(1, 2), NONE, 0).tolist() == []


@given(st.integers(0, 2**32 - 1), st.integers(1, 40), st.integers(1, 40))
def test_a_core_set_covers_at_most_twice_as_far_as_the_best_can(seed: int, count: int, k: int) -> None:
    """Gonzalez 1985: k + 1 points farther apart than 2 r cannot be covered by k balls of radius r."""
    rows = np.random.default_rng(seed).normal(size=(count, 5)).astype(np.float32)
    picked = k_centre(rows, rows[:0], k)
    assert len(set(picked.tolist())) == len(picked) == min(k, count)
    apart = np.linalg.norm(rows[:, None].astype(float) - rows[picked], axis=2)
    left = apart.min(axis=1).max()
    between = apart[picked][~np.eye(len(picked), dtype=bool)]
    assert left <= between.min(initial=np.inf) + 1e-5


def test_the_order_of_rows_changes_no_distance() -> None:
    rng = np.random.default_rng(2)
    rows = unit(rng.normal(size=(1003, 67)).astype(np.float32))
    covered = unit(rng.normal(size=(11, 67)).astype(np.float32))
    shuffled = rng.permutation(len(rows))
    assert shuffled[k_centre(rows[shuffled], covered, 300)].tolist() == k_centre(rows, covered, 300).tolist()


def test_unit_rows_have_length_one_and_zeros_stay_unknown() -> None:
    rows = np.array([[3, 4], [0, 0], [0, 1e-30], [3e38, 0]], np.float32)
    assert unit(rows) == pytest.approx(np.array([[0.6, 0.8], [0, 0], [0, 1], [1, 0]]))
    assert known(rows).tolist() == [True, False, True, True]
