import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from quandary.options import Acquisition
from quandary_server.uncertainty.acquisition import (
    ACQUISITIONS,
    BOX_WEIGHT,
    LOCALISED,
    acquire,
    box_information,
    scores_without,
)
from quandary_server.uncertainty.jackknife import standard_error
from quandary_server.uncertainty.samples import Samples, softmax
from quandary_server.uncertainty.summary import summarise

T, D, C = 5, 2, 3
SCALES = np.array([1.0, 2.0, 4.0, 1.0, 1.0, 1.0, 1.0])


def samples_of(probs: np.ndarray, box: np.ndarray | None = None) -> Samples:
    if box is None:
        box = np.zeros((*probs.shape[:2], 10))
        box[..., [7, 9]] = 1.0
    return Samples(probs, box, np.zeros((*probs.shape[:2], 7)))


def split_votes() -> Samples:
    """Object 0: two sure draws that disagree; object 1: two draws that share a doubt."""
    return samples_of(np.array([[[1.0, 0.0], [0.5, 0.5]], [[0.0, 1.0], [0.5, 0.5]]]))


@pytest.mark.parametrize(
    ("acquisition", "expected"),
    [
        (Acquisition.PREDICTIVE_ENTROPY, [np.log(2), np.log(2)]),
        (Acquisition.MUTUAL_INFORMATION, [np.log(2), 0.0]),
        (Acquisition.VARIATION_RATIO, [0.5, 0.0]),
        (Acquisition.MARGIN, [1.0, 1.0]),
        (Acquisition.BOX_EPISTEMIC, [0.0, 0.0]),
        (Acquisition.INFORMATION_AND_BOX, [np.log(2), 0.0]),
    ],
)
def test_closed_forms(acquisition: Acquisition, expected: list[float]) -> None:
    assert acquire(acquisition, summarise(split_votes()), SCALES) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("probs", "entropy", "margin"),
    [
        ([1.0, 0.0, 0.0], 0.0, 0.0),
        ([0.5, 0.5, 0.0], np.log(2), 1.0),
        ([1 / 3, 1 / 3, 1 / 3], np.log(3), 1.0),
        ([0.5, 0.25, 0.25], 1.5 * np.log(2), 0.75),
    ],
)
def test_closed_forms_of_one_distribution(probs: list[float], entropy: float, margin: float) -> None:
    summary = summarise(samples_of(np.array([[probs]])))
    assert acquire(Acquisition.PREDICTIVE_ENTROPY, summary, SCALES) == pytest.approx([entropy])
    assert acquire(Acquisition.MARGIN, summary, SCALES) == pytest.approx([margin])


def test_the_variation_ratio_is_the_share_of_draws_off_the_modal_class() -> None:
    votes = np.eye(C)[[[0], [0], [0], [1], [2]]]
    assert acquire(Acquisition.VARIATION_RATIO, summarise(samples_of(votes)), SCALES) == pytest.approx([2 / 5])


@pytest.mark.parametrize("acquisition", list(Acquisition))
def test_every_acquisition_function_names_its_source(acquisition: Acquisition) -> None:
    function = LOCALISED[acquisition] if acquisition in LOCALISED else ACQUISITIONS[acquisition]
    assert re.search(r"(19|20)\d\d|Ours", function.__doc__ or "")


def distributions(samples: int = 4, detections: int = 3, classes: int = 5) -> st.SearchStrategy[np.ndarray]:
    raw = arrays(np.float64, (samples, detections, classes), elements=st.floats(1e-6, 1.0))
    return raw.map(lambda values: values / values.sum(axis=-1, keepdims=True))


@given(distributions())
def test_the_parts_of_the_entropy_are_bounded_by_the_whole(probs: np.ndarray) -> None:
    summary = summarise(samples_of(probs))
    total, epistemic = (
        acquire(acquisition, summary, SCALES)
        for acquisition in (Acquisition.PREDICTIVE_ENTROPY, Acquisition.MUTUAL_INFORMATION)
    )
    assert total.shape == epistemic.shape == (3,)
    assert (epistemic >= 0).all()
    assert (summary.expected_entropy <= total + 1e-12).all()
    assert epistemic == pytest.approx(total - summary.expected_entropy, abs=1e-12)
    assert (total <= np.log(5) + 1e-12).all()


def test_box_variances_are_standardised_before_they_are_averaged_and_weighed_by_the_object() -> None:
    probs = np.full((2, 1, C), 1 / C)
    box = np.zeros((2, 1, 10))
    box[..., [7, 9]] = 1.0
    box[:, 0, 1] = [-2.0, 2.0]
    summary = summarise(samples_of(probs, box))
    expected = (1 - 1 / C) * np.log(1 + 4.0 / 2.0) / 7
    assert acquire(Acquisition.BOX_EPISTEMIC, summary, SCALES) == pytest.approx([expected])


def test_the_default_adds_what_a_label_would_tell_of_class_and_box() -> None:
    probs = np.full((2, 1, C), 1 / C)
    probs[0, 0, :2], probs[1, 0, :2] = [2 / C, 0.0], [0.0, 2 / C]
    box = np.zeros((2, 1, 10))
    box[..., [7, 9]] = 1.0
    box[:, 0, 1] = [-2.0, 2.0]
    log_variance = np.full((2, 1, 7), np.log(0.5))
    summary = summarise(Samples(probs, box, log_variance))
    # epistemic 4 over aleatoric 0.5 for one of seven parameters
    assert box_information(summary) == pytest.approx([0.5 * np.log(9.0) / 7])
    expected = acquire(Acquisition.MUTUAL_INFORMATION, summary, SCALES) + BOX_WEIGHT * (1 - 1 / C) * 0.5 * np.log(9.0) / 7
    assert acquire(Acquisition.INFORMATION_AND_BOX, summary, SCALES) == pytest.approx(expected)
    assert acquire(Acquisition.MUTUAL_INFORMATION, summary, SCALES) == pytest.approx([2 / C * np.log(2)])


def test_blurred_boxes_tell_less_than_sharp_ones_that_scatter_alike() -> None:
    box = np.random.default_rng(0).normal(size=(T, 2, 10))
    box[:, 1] = box[:, 0]
    log_variance = np.zeros((T, 2, 7))
    log_variance[:, 1] = np.log(100.0)
    sharp, blurred = box_information(summarise(Samples(np.full((T, 2, C), 1 / C), box, log_variance)))
    assert sharp > 5 * blurred > 0


def test_a_sure_background_has_no_box_to_doubt() -> None:
    probs = np.zeros((2, 1, C))
    probs[..., -1] = 1.0
    box = np.random.default_rng(0).normal(size=(2, 1, 10))
    assert acquire(Acquisition.BOX_EPISTEMIC, summarise(samples_of(probs, box)), SCALES) == pytest.approx([0.0])


@pytest.mark.parametrize("acquisition", [a for a in ACQUISITIONS if a.needs_samples])
def test_one_sample_is_refused_where_it_says_nothing(acquisition: Acquisition) -> None:
    summary = summarise(samples_of(np.full((1, D, C), 1 / C)))
    with pytest.raises(ValueError, match="at least 2 samples"):
        acquire(acquisition, summary, SCALES)


def test_every_acquisition_function_has_its_code() -> None:
    assert {*ACQUISITIONS, *LOCALISED} == set(Acquisition)


@pytest.mark.parametrize(("acquisition", "missing"), [(Acquisition.TIGHTNESS, "views"), (Acquisition.STABILITY, "jittered")])
def test_a_localisation_that_is_not_there_is_named(acquisition: Acquisition, missing: str) -> None:
    with pytest.raises(ValueError, match=missing):
        acquire(acquisition, summarise(split_votes()), SCALES)


def test_below_three_samples_none_can_be_left_out_and_equal_draws_have_no_error() -> None:
    assert scores_without(Acquisition.MUTUAL_INFORMATION, summarise(split_votes()), SCALES) is None
    equal = samples_of(np.repeat(np.array([[[0.7, 0.2, 0.1]]]), 4, axis=0))
    without = scores_without(Acquisition.MUTUAL_INFORMATION, summarise(equal), SCALES)
    assert without is not None
    assert standard_error(without) == pytest.approx([0.0], abs=1e-12)


def test_standard_error_matches_the_spread_over_independent_draws() -> None:
    rng, runs, draws = np.random.default_rng(7), 300, 40
    scores, errors = [], []
    for _ in range(runs):
        samples = samples_of(softmax(rng.normal([2.0, 0.0, -1.0], size=(draws, 1, C)).astype(np.float32)))
        score = acquire(Acquisition.PREDICTIVE_ENTROPY, summarise(samples), SCALES)
        without = scores_without(Acquisition.PREDICTIVE_ENTROPY, summarise(samples), SCALES)
        assert without is not None
        scores.append(score[0])
        errors.append(standard_error(without)[0])
    assert np.mean(errors) == pytest.approx(np.std(scores), rel=0.25)


@pytest.mark.parametrize("acquisition", list(ACQUISITIONS))
def test_scores_do_not_depend_on_company(acquisition: Acquisition) -> None:
    rng = np.random.default_rng(3)
    logits, box = rng.normal(size=(T, 6, C)).astype(np.float32), rng.normal(size=(T, 6, 10))
    everything = acquire(acquisition, summarise(samples_of(softmax(logits), box)), SCALES)
    pair = acquire(acquisition, summarise(samples_of(softmax(logits[:, 2:4]), box[:, 2:4])), SCALES)
    assert pair.tobytes() == everything[2:4].tobytes()
