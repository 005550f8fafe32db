"""The labelled frame that is most like another."""

import numpy as np
import pytest

from quandary_server.selection.core_set import unit
from quandary_server.selection.nearest import Nearest, nearest

ROWS = np.array([[1, 0], [0, 1], [-1, 0]], np.float32)


def test_the_distance_is_one_minus_the_cosine() -> None:
    found = nearest(np.array([0, 3], np.float32), ROWS)
    assert found == Nearest(1, 0.0)
    found = nearest(np.array([2, 2], np.float32), ROWS)
    assert found is not None
    assert found.row == 0  # the first of two that are as near
    assert found.distance == pytest.approx(1 - 0.5**0.5, abs=1e-6)


def test_the_opposite_is_two_away() -> None:
    assert nearest(np.array([1, 0], np.float32), ROWS[2:]) == Nearest(0, 2.0)


def test_a_row_may_be_left_out() -> None:
    found = nearest(np.array([0.1, 3], np.float32), ROWS, leave_out=1)
    assert found is not None
    assert found.row == 0


def test_nothing_is_nearest_to_what_is_not_known_nor_among_none() -> None:
    assert nearest(np.zeros(2, np.float32), ROWS) is None
    assert nearest(np.ones(2, np.float32), ROWS[:0]) is None
    assert nearest(np.ones(2, np.float32), ROWS[:1], leave_out=0) is None


def test_it_is_the_least_of_all_distances() -> None:
    rng = np.random.default_rng(0)
    rows, mine = unit(rng.normal(size=(50, 7)).astype(np.float32)), rng.normal(size=7).astype(np.float32)
    found = nearest(mine, rows)
    cosines = rows.astype(np.float64) @ mine / np.linalg.norm(mine)
    assert found is not None
    assert found.row == cosines.argmax()
    assert found.distance == pytest.approx(1 - cosines.max(), abs=1e-6)
