import numpy as np
import pytest

from quandary.options import Acquisition, Reduction
from quandary_server.uncertainty.acquisition import acquire, scores_without
from quandary_server.uncertainty.jackknife import standard_error
from quandary_server.uncertainty.reduction import reduce_objects
from quandary_server.uncertainty.samples import Samples, softmax
from quandary_server.uncertainty.summary import summarise

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
    assert reduce_objects(reduction, np.empty((4, 0))).tolist() == [0.0] * 4


@pytest.mark.parametrize("reduction", list(Reduction))
def test_one_object_is_the_frame(reduction: Reduction) -> None:
    assert reduce_objects(reduction, np.array([0.7])) == pytest.approx(0.7)


def test_top_k_of_more_than_there_are_is_the_mean() -> None:
    assert reduce_objects(Reduction.TOP_K_MEAN, SCORES, top_k=9) == pytest.approx(2.5)


@pytest.mark.parametrize("reduction", list(Reduction))
def test_every_row_is_reduced_by_itself(reduction: Reduction) -> None:
    rows = np.random.default_rng(0).random((5, 7))
    assert reduce_objects(reduction, rows, top_k=2).tolist() == [reduce_objects(reduction, row, top_k=2) for row in rows]


@pytest.mark.parametrize("reduction", list(Reduction))
def test_the_frames_standard_error_is_the_spread_of_its_score_over_seeds(reduction: Reduction) -> None:
    """Masks are shared by all objects: their errors go together, and do not average out."""
    runs, draws, objects = 200, 20, 8
    base = np.random.default_rng(0).normal(0, 1, (objects, 3))
    scores, errors = [], []
    for seed in range(runs):
        rng = np.random.default_rng([1, seed])
        shared, own = rng.normal(0, 0.9, (draws, 1, 3)), rng.normal(0, 0.3, (draws, objects, 3))
        probs = softmax((base + shared + own).astype(np.float32))
        box = np.zeros((draws, objects, 10))
        samples = Samples(probs, box, box[..., :7])
        score = acquire(Acquisition.MUTUAL_INFORMATION, summarise(samples), np.ones(7))
        without = scores_without(Acquisition.MUTUAL_INFORMATION, summarise(samples), np.ones(7))
        assert without is not None
        scores.append(reduce_objects(reduction, score, top_k=2))
        errors.append(standard_error(reduce_objects(reduction, without, top_k=2)))
    assert 0.5 < np.mean(errors) / np.std(scores) < 2
