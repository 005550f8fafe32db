import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quandary_server.selection.balance import class_floor, class_quota, stands_for

from .pools import CLASSES


def test_a_crop_stands_for_its_likeliest_class_and_a_frame_for_all_it_likely_holds() -> None:
    shares = np.array([[0.4, 0.3, 0.3], [0.3, 0.0, 0.7], [0.15, 0.1, 0.0], [3.0, 0.6, 9.0], [0.0, 0.0, 0.0]])
    assert stands_for(shares).tolist() == [[True, False], [False, False], [False, False], [True, True], [False, False]]


def test_the_first_of_each_class_fill_its_floor() -> None:
    car, van, background = [0.8, 0.1, 0.1], [0.1, 0.8, 0.1], [0.0, 0.1, 0.9]
    shares = np.array([van, car, background, car, van, car])
    order = np.array([5, 3, 1, 2, 4, 0])
    assert class_floor(order, shares, k=4, floor=0.5).tolist() == [5, 4]
    assert class_floor(order, shares, k=4, floor=1.0).tolist() == [5, 3, 4, 0]
    assert class_floor(order, shares, k=4, floor=0.0).tolist() == []
    assert class_floor(order[:3], shares, k=4, floor=0.5).tolist() == [5]


def test_one_that_stands_for_two_classes_counts_for_both() -> None:
    shares = np.array([[0.9, 0.0, 0.0], [0.9, 0.9, 4.0], [0.0, 0.9, 0.0]])
    assert class_floor(np.array([1, 0, 2]), shares, k=2, floor=1.0).tolist() == [1]


def test_a_class_that_has_its_due_is_due_nothing_for_another_that_comes_with_it() -> None:
    shares = np.array([[0.9, 0.0, 0.0], [0.9, 0.9, 4.0], [0.9, 0.0, 0.0]])
    assert class_floor(np.array([0, 1, 2]), shares, k=3, floor=0.5).tolist() == [0, 1]


def test_where_rounding_makes_it_too_many_the_first_are_reserved() -> None:
    shares = np.eye(9)
    assert class_quota(5, 9, 1.0) == 1
    assert class_floor(np.arange(9), shares, k=5, floor=1.0).tolist() == [0, 1, 2, 3, 4]


def test_a_floor_without_classes_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 2 classes"):
        class_floor(np.arange(3), np.ones((3, 1)), k=2, floor=0.5)


@given(st.integers(0, 2**32 - 1), st.integers(0, 40), st.integers(0, 45), st.floats(0, 1))
def test_the_floor_holds_as_far_as_there_are_candidates(seed: int, count: int, k: int, floor: float) -> None:
    rng = np.random.default_rng(seed)
    shares = rng.gamma(0.3, size=(count, CLASSES))
    order = rng.permutation(count)
    reserved = class_floor(order, shares, k, floor)
    assert len(reserved) == len(set(reserved.tolist())) <= k
    quota = class_quota(k, CLASSES, floor)
    if quota * (CLASSES - 1) <= k:
        stands = stands_for(shares)
        assert (stands[reserved].sum(axis=0) >= np.minimum(quota, stands.sum(axis=0))).all()
    assert order[np.isin(order, reserved)].tolist() == reserved.tolist()
