import numpy as np
import pytest

from quandary.options import Reduction
from quandary_server.uncertainty.reduction import reduce_errors, reduce_objects, weights

SCORES = np.array([1.0, 4.0, 2.0, 3.0])


@pytest.mark.parametrize(
    ("reduction", "expected"),
    [(Reduction.MAX, 4.0), (Reduction.MEAN, 2.5), (Reduction.SUM, 10.0), (Reduction.TOP_K_MEAN, 3.5)],
)
def test_values(reduction: Reduction, expected: float) -> None:
    assert reduce_objects(reduction, SCORES, top_k=2) == pytest.approx(expected)


@pytest.mark.parametrize("reduction", list(Reduction))
def test_a_frame_without_objects_scores_zero(reduction: Reduction) -> None:
    assert reduce_objects(reduction, np.empty(0)) == 0.0
    assert reduce_errors(reduction, np.empty(0), np.empty(0)) == 0.0


@pytest.mark.parametrize("reduction", list(Reduction))
def test_one_object_is_the_frame(reduction: Reduction) -> None:
    assert reduce_objects(reduction, np.array([0.7])) == pytest.approx(0.7)
    assert reduce_errors(reduction, np.array([0.7]), np.array([0.2])) == pytest.approx(0.2)


def test_top_k_of_more_than_there_are_is_the_mean() -> None:
    assert reduce_objects(Reduction.TOP_K_MEAN, SCORES, top_k=9) == pytest.approx(2.5)


def test_independent_errors_add_in_squares() -> None:
    errors = np.array([0.0, 0.3, 0.0, 0.4])
    assert reduce_errors(Reduction.SUM, SCORES, errors) == pytest.approx(0.5)
    assert reduce_errors(Reduction.MAX, SCORES, errors) == pytest.approx(0.3)


def test_a_tie_goes_to_the_first() -> None:
    assert weights(Reduction.MAX, np.array([2.0, 2.0])).tolist() == [1.0, 0.0]
