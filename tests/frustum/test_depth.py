import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quandary_server.frustum.depth import (
    BIN_M,
    BINS,
    FARTHEST_M,
    HEIGHT_SPREAD,
    MIDDLE_BOTTOM,
    MIDDLE_TOP,
    MIDDLE_WIDTH,
    UNEXPECTED,
    USUAL_HEIGHT_M,
    WINDOW_BINS,
    object_depth,
)

MIDDLE = (0.5, 0.5)


def depth_of(*points: tuple[float, tuple[float, float]], high_at_m: float = 20.0) -> tuple[float, int]:
    """Return depth and points there of one frustum whose proposal is of usual height at `high_at_m`."""
    along, places = np.array([p for p, _ in points]), np.array([place for _, place in points]).reshape(-1, 2)
    which = np.zeros(len(points), np.intp)
    depth, count = object_depth(along, places, which, np.array([USUAL_HEIGHT_M / high_at_m]), np.array([77.0]))
    return float(depth[0]), int(count[0])


def test_without_a_point_it_is_the_depth_that_was_given() -> None:
    assert depth_of() == (77.0, 0)


def test_it_is_the_mean_of_the_densest_metre() -> None:
    depth, points = depth_of((20.1, MIDDLE), (20.3, MIDDLE), (24.0, MIDDLE))
    assert depth == pytest.approx(20.2)
    assert points == 2


def test_more_points_behind_do_not_win_where_they_are_at_the_edge() -> None:
    behind = [(26.0, (0.05, 0.5))] * 5
    assert depth_of((20.1, MIDDLE), (20.2, MIDDLE), *behind)[0] == pytest.approx(20.15)


def test_of_two_as_dense_the_one_whose_height_is_usual_wins() -> None:
    for high_at_m, expected in ((12.0, 12.1), (40.0, 40.1)):
        assert depth_of((12.1, MIDDLE), (40.1, MIDDLE), high_at_m=high_at_m)[0] == pytest.approx(expected)


def test_what_lies_beyond_the_farthest_bin_counts_there() -> None:
    assert depth_of((500.0, MIDDLE))[0] == pytest.approx(500.0)


@given(st.integers(0, 1000), st.integers(1, 5))
def test_it_lies_within_a_metre_of_some_point_and_neighbours_do_not_matter(seed: int, count: int) -> None:
    rng = np.random.default_rng(seed)
    sizes = rng.integers(0, 30, count)
    which = np.repeat(np.arange(count), sizes)
    along, places = rng.uniform(2, 90, len(which)), rng.uniform(-0.05, 1.05, (len(which), 2))
    heights, unseen = rng.uniform(0.01, 0.5, count), rng.uniform(1, 100, count)
    together, points = object_depth(along, places, which, heights, unseen)
    for i in range(count):
        own = which == i
        alone, own_points = object_depth(along[own], places[own], which[own] * 0, heights[i : i + 1], unseen[i : i + 1])
        assert alone.tobytes() == together[i : i + 1].tobytes()
        assert own_points[0] == points[i] <= own.sum()
        if own.any():
            assert np.abs(along[own] - together[i]).min() <= 4 * BIN_M
        else:
            assert together[i] == unseen[i]


@given(st.integers(0, 1000), st.integers(1, 4))
def test_empty_bins_may_be_left_out_to_the_bit(seed: int, count: int) -> None:
    rng = np.random.default_rng(seed)
    which = np.repeat(np.arange(count), rng.integers(0, 40, count))
    # some beyond the farthest bin, some before the first
    along, places = rng.uniform(-2, 1.1 * FARTHEST_M, len(which)), rng.uniform(-0.05, 1.05, (len(which), 2))
    heights, unseen = rng.uniform(0.01, 0.5, count), rng.uniform(1, 100, count)
    depth, points = object_depth(along, places, which, heights, unseen)
    expected, expected_points = depth_of_all_bins(along, places, which, heights, unseen)
    assert depth.tobytes() == expected.tobytes()
    assert points.tolist() == expected_points.tolist()


def depth_of_all_bins(
    along: np.ndarray, places: np.ndarray, which: np.ndarray, metres_high: np.ndarray, unseen: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return what `object_depth` does, with every bin weighed and every window summed."""
    count = len(unseen)
    across, down = places.T
    middle = (np.abs(across - 0.5) < MIDDLE_WIDTH / 2) & (down > MIDDLE_TOP) & (down < MIDDLE_BOTTOM)
    weight = np.where(middle, 1.0, UNEXPECTED)
    cells = which * BINS + np.clip((along / BIN_M).astype(np.intp), 0, BINS - 1)
    values = (weight, weight * along, np.ones(len(cells)))
    weights, depths, points = (np.bincount(cells, v, count * BINS).reshape(count, BINS) for v in values)

    def windows(of: np.ndarray) -> np.ndarray:
        padded = np.pad(of, ((0, 0), (0, WINDOW_BINS - 1)))
        return np.array(sum(padded[:, i : i + BINS] for i in range(WINDOW_BINS)))

    centres = (np.arange(BINS) + 0.5) * BIN_M
    surprise = (np.log(metres_high[:, None] * centres) - np.log(USUAL_HEIGHT_M)) / HEIGHT_SPREAD
    best = windows(weights * (np.exp(-0.5 * surprise**2) + UNEXPECTED)).argmax(axis=1)
    found, deep, many = (windows(of)[np.arange(count), best] for of in (weights, depths, points))
    return np.where(found > 0, deep / np.where(found > 0, found, 1.0), unseen), many.astype(np.int64)
