import numpy as np
import pytest

from quandary.options import Acquisition
from quandary_server.uncertainty.acquisition import acquire
from quandary_server.uncertainty.localisation import Localisation, stability, stability_without, tightness
from quandary_server.uncertainty.samples import Samples
from quandary_server.uncertainty.summary import Summary, summarise

SCALES = np.ones(7)


def of_probs(*rows: list[float]) -> Summary:
    """The summary of two equal draws with these class probabilities, Background last."""
    probs = np.repeat(np.array([rows]), 2, axis=0)
    return summarise(Samples(probs, np.zeros((2, len(rows), 10)), np.zeros((2, len(rows), 7))))


def test_tightness_is_one_where_both_are_sure_minus_one_where_neither_is_and_zero_between() -> None:
    sure, unsure = [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]
    found = tightness(np.array([1.0, 0.0, 1.0, 0.0]), np.array([sure, unsure, unsure, sure]))
    assert found == pytest.approx([1.0, -1.0, 0.0, 0.0])


def test_background_is_no_class_of_an_object() -> None:
    assert tightness(np.array([0.5]), np.array([[0.2, 0.1, 0.7]])) == pytest.approx([0.5 + 0.2 - 1])


def test_stability_is_the_mean_overlap_and_without_each_the_mean_of_the_others() -> None:
    overlaps = np.array([[1.0, 0.0], [0.5, 0.0], [0.0, 0.6]])
    assert stability(overlaps) == pytest.approx([0.5, 0.2])
    without = stability_without(overlaps)
    assert without is not None
    assert without == pytest.approx(np.array([[0.25, 0.3], [0.5, 0.3], [0.75, 0.0]]))
    assert stability_without(overlaps[:2]) is None


def test_tight_and_loose_score_low_and_what_disagrees_high() -> None:
    summary = of_probs([1.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 0.0])
    localisation = Localisation(tightness=tightness(np.array([1.0, 0.0, 0.0, 0.5]), summary.mean_probs))
    assert acquire(Acquisition.TIGHTNESS, summary, SCALES, localisation) == pytest.approx([0.0, 0.0, 1.0, 0.5])


def test_unstable_boxes_score_by_the_probability_that_there_is_an_object() -> None:
    summary = of_probs([0.8, 0.1, 0.1], [0.0, 0.0, 1.0], [0.5, 0.5, 0.0])
    localisation = Localisation(stability=np.array([0.5, 0.0, 1.0]))
    assert acquire(Acquisition.STABILITY, summary, SCALES, localisation) == pytest.approx([0.9 * 0.5, 0.0, 0.0])


def test_without_each_disturbance_there_is_a_score_each() -> None:
    summary = of_probs([0.8, 0.1, 0.1], [0.4, 0.6, 0.0])
    left = Localisation(stability=np.array([[0.5, 0.0], [1.0, 0.25], [0.0, 0.5]]))
    scores = acquire(Acquisition.STABILITY, summary, SCALES, left)
    assert scores == pytest.approx(np.array([[0.45, 1.0], [0.0, 0.75], [0.9, 0.5]]))
