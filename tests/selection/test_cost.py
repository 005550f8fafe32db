import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quandary_server.selection.cost import LabellingCost


def test_a_frame_costs_itself_and_all_its_proposals() -> None:
    assert LabellingCost(frame_s=10.0, box_s=114.0).seconds([0, 1, 5]).tolist() == [10.0, 124.0, 580.0]


def test_known_objects_cost_by_class_and_points_and_the_rest_as_any_box() -> None:
    cost = LabellingCost(10.0, 100.0, class_s=(60.0, 120.0, 5.0), sparse_points=20, sparse_factor=1.5)
    probs = np.array([[1.0, 0.0, 0.0], [0.0, 0.5, 0.5], [0.0, 0.0, 1.0], [0.25, 0.25, 0.0]])
    assert cost.objects(probs, np.array([20, 19, 500, 30])).tolist() == [60.0, 93.75, 5.0, 95.0]
    assert cost.seconds([3, 1, 2], [0, 0, 2], probs[:3], [20, 19, 500]).tolist() == [263.75, 110.0, 115.0]
    assert LabellingCost(10.0, 100.0).seconds([1], [0], [[0.5, 0.25]], [3]).tolist() == [110.0]


@given(st.integers(0, 2**32 - 1), st.integers(0, 20))
def test_work_is_never_less_than_the_frame_and_the_cheapest_boxes(seed: int, count: int) -> None:
    rng = np.random.default_rng(seed)
    cost = LabellingCost(10.0, 100.0, (30.0, 60.0, 5.0), sparse_points=10, sparse_factor=2.0)
    probs, points, frames = rng.dirichlet(np.ones(3), count), rng.integers(0, 20, count), rng.integers(0, 4, count)
    seconds = cost.seconds(np.bincount(frames, minlength=4) + 1, frames, probs, points)
    held = np.bincount(frames, minlength=4)
    assert (seconds >= 110.0 + 5.0 * held - 1e-9).all()
    assert (seconds <= 110.0 + 120.0 * held + 1e-9).all()


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"class_s": (1.0, -1.0)}, r"class_s\[1\] must be finite"),
        ({"sparse_points": -1}, "sparse_points must be >= 0, is -1"),
        ({"sparse_factor": 0.5}, "sparse_factor must be finite and >= 1, is 0.5"),
    ],
)
def test_what_is_wrong_with_a_cost_is_named(wrong: dict[str, Any], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        LabellingCost(10.0, 100.0, **wrong)
    with pytest.raises(ValueError, match="probs must have 2 classes"):
        LabellingCost(1.0, 1.0, (1.0, 2.0)).objects(np.ones((1, 3)), np.array([1]))


@pytest.mark.parametrize("seconds", [-1.0, math.nan, math.inf])
def test_an_impossible_time_is_refused(seconds: float) -> None:
    with pytest.raises(ValueError, match="box_s must be finite and >= 0"):
        LabellingCost(10.0, seconds)
