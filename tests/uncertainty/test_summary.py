import numpy as np
import pytest

from quandary_server.frustum.anchor import AXIS, HEADING, REGRESSED, yaws
from quandary_server.uncertainty.entropy import entropy
from quandary_server.uncertainty.samples import Samples, softmax
from quandary_server.uncertainty.summary import LeaveOneOut, Summary, epistemic_variance, summarise

T, D, C = 6, 4, 3


def draws(rng: np.random.Generator, samples: int = T) -> Samples:
    box = rng.normal(size=(samples, D, REGRESSED))
    return Samples(softmax(rng.normal(size=(samples, D, C)).astype(np.float32)), box, rng.normal(size=(samples, D, 7)))


def of_boxes(box: np.ndarray) -> Summary:
    """The summary of draws whose classes and variances do not matter."""
    return summarise(Samples(np.full((*box.shape[:2], C), 1 / C), box, np.zeros((*box.shape[:2], 7))))


def yawed(*turns: float) -> np.ndarray:
    box, angles = np.zeros((len(turns), 1, REGRESSED)), np.array(turns)
    box[:, 0, AXIS] = np.stack([np.sin(2 * angles), np.cos(2 * angles)], axis=1)
    box[:, 0, HEADING] = np.stack([np.sin(angles), np.cos(angles)], axis=1)
    return box


def test_yaw_means_and_spreads_on_the_circle() -> None:
    summary = of_boxes(yawed(np.pi - 0.1, -np.pi + 0.1))
    assert abs(yaws(summary.box)[0]) == pytest.approx(np.pi)
    assert summary.epistemic[0, 6] == pytest.approx(0.1**2, rel=2e-2)
    assert of_boxes(yawed(0.0, np.pi / 2)).epistemic[0, 6] == pytest.approx(0.5)


def test_front_and_back_are_one_axis() -> None:
    assert of_boxes(yawed(0.3, 0.3 - np.pi)).epistemic[0, 6] == pytest.approx(0.0, abs=1e-12)
    assert yaws(of_boxes(yawed(0.3, 0.3, 0.3 - np.pi)).box)[0] == pytest.approx(0.3)


def test_scaled_directions_weigh_alike() -> None:
    box = yawed(0.2, -0.2)
    box[0, 0, 6:] *= 50
    assert yaws(of_boxes(box).box)[0] == pytest.approx(0.0)


def test_epistemic_is_the_variance_over_draws_and_aleatoric_the_mean_predicted() -> None:
    box = yawed(0.0, 0.0)
    box[:, 0, 0] = [-3.0, 3.0]
    log_variance = np.log(np.array([[[1.0] * 7], [[3.0] * 7]]))
    summary = summarise(Samples(np.full((2, 1, C), 1 / C), box, log_variance))
    assert summary.epistemic[0] == pytest.approx([9, 0, 0, 0, 0, 0, 0])
    assert summary.aleatoric[0] == pytest.approx([2.0] * 7)


def test_the_variance_of_boxes_alone_is_the_epistemic_one() -> None:
    samples = draws(np.random.default_rng(2))
    assert epistemic_variance(samples.box) == pytest.approx(summarise(samples).epistemic)


def test_votes_are_shared_out_and_of_equals_the_first_has_it() -> None:
    probs = np.array([[[0.6, 0.3, 0.1]], [[0.2, 0.2, 0.6]], [[0.4, 0.4, 0.2]], [[0.1, 0.8, 0.1]]])
    summary = summarise(Samples(probs, np.zeros((4, 1, REGRESSED)), np.zeros((4, 1, 7))))
    assert summary.votes.tolist() == [[0.5, 0.25, 0.25]]


def test_leave_one_out_equals_summaries_without_each_draw() -> None:
    samples = draws(np.random.default_rng(0))
    without = LeaveOneOut(summarise(samples))
    assert without.samples == T - 1
    for t in range(T):
        kept = [i for i in range(T) if i != t]
        expected = summarise(Samples(samples.probs[kept], samples.box[kept], samples.box_log_variance[kept]))
        assert without.mean_probs[t] == pytest.approx(expected.mean_probs)
        assert without.expected_entropy[t] == pytest.approx(expected.expected_entropy)
        assert without.votes[t] == pytest.approx(expected.votes)
        assert without.epistemic[t] == pytest.approx(expected.epistemic)
        assert without.aleatoric[t] == pytest.approx(expected.aleatoric)


def test_leaving_out_one_of_equal_draws_leaves_no_variance_below_zero() -> None:
    box = np.repeat(np.random.default_rng(3).normal(size=(1, D, REGRESSED)), T, axis=0)
    left = LeaveOneOut(of_boxes(box)).epistemic[..., :6]
    assert (left >= 0).all()
    assert left == pytest.approx(np.zeros((T, D, 6)), abs=1e-24)


def test_summary_of_one_draw_is_that_draw() -> None:
    samples = draws(np.random.default_rng(1), samples=1)
    summary = summarise(samples)
    assert summary.mean_probs == pytest.approx(samples.probs[0])
    assert summary.expected_entropy == pytest.approx(entropy(samples.probs[0]))
    assert summary.epistemic == pytest.approx(np.zeros((D, 7)), abs=1e-12)
