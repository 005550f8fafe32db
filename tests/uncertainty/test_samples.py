import numpy as np
import pytest

from quandary_server.frustum.anchor import AXIS, HEADING, REGRESSED, yaws
from quandary_server.uncertainty.entropy import entropy
from quandary_server.uncertainty.samples import (
    Samples,
    aleatoric_variance,
    epistemic_variance,
    leave_one_out,
    mean_box,
    softmax,
    summarise,
)

T, D, C = 6, 4, 3


def draws(rng: np.random.Generator, samples: int = T) -> Samples:
    box = rng.normal(size=(samples, D, REGRESSED))
    return Samples(softmax(rng.normal(size=(samples, D, C)).astype(np.float32)), box, rng.normal(size=(samples, D, 7)))


def yawed(*turns: float) -> np.ndarray:
    box, angles = np.zeros((len(turns), 1, REGRESSED)), np.array(turns)
    box[:, 0, AXIS] = np.stack([np.sin(2 * angles), np.cos(2 * angles)], axis=1)
    box[:, 0, HEADING] = np.stack([np.sin(angles), np.cos(angles)], axis=1)
    return box


def test_softmax_sums_to_one_in_the_order_of_its_axes() -> None:
    logits = np.zeros((T, D, C), np.float32)
    logits[2, 1] = [0.0, np.log(2), np.log(5)]
    probs = softmax(logits)
    assert probs.shape == (T, D, C)
    assert probs[2, 1] == pytest.approx([1 / 8, 2 / 8, 5 / 8])
    assert probs[0, 0] == pytest.approx([1 / 3] * 3)


def test_softmax_of_a_hot_temperature_is_flat_and_of_huge_logits_finite() -> None:
    logits = np.array([[[1000.0, 0.0, -1000.0]]], np.float32)
    assert softmax(logits)[0, 0] == pytest.approx([1.0, 0.0, 0.0])
    assert softmax(logits, temperature=1e6)[0, 0] == pytest.approx([1 / 3] * 3, abs=1e-3)


def test_yaw_means_and_spreads_on_the_circle() -> None:
    box = yawed(np.pi - 0.1, -np.pi + 0.1)
    assert abs(yaws(mean_box(box))[0]) == pytest.approx(np.pi)
    assert epistemic_variance(box)[0, 6] == pytest.approx(0.1**2, rel=2e-2)
    assert epistemic_variance(yawed(0.0, np.pi / 2))[0, 6] == pytest.approx(0.5)


def test_front_and_back_are_one_axis() -> None:
    assert epistemic_variance(yawed(0.3, 0.3 - np.pi))[0, 6] == pytest.approx(0.0, abs=1e-12)
    assert yaws(mean_box(yawed(0.3, 0.3, 0.3 - np.pi)))[0] == pytest.approx(0.3)


def test_scaled_directions_weigh_alike() -> None:
    box = yawed(0.2, -0.2)
    box[0, 0, 6:] *= 50
    assert yaws(mean_box(box))[0] == pytest.approx(0.0)


def test_epistemic_is_the_variance_over_draws_and_aleatoric_the_mean_predicted() -> None:
    box = yawed(0.0, 0.0)
    box[:, 0, 0] = [-3.0, 3.0]
    assert epistemic_variance(box)[0] == pytest.approx([9, 0, 0, 0, 0, 0, 0])
    assert aleatoric_variance(np.log(np.array([[[1.0] * 7], [[3.0] * 7]])))[0] == pytest.approx([2.0] * 7)


def test_leave_one_out_equals_summaries_without_each_draw() -> None:
    samples = draws(np.random.default_rng(0))
    without = leave_one_out(samples)
    assert without.samples == T - 1
    for t in range(T):
        kept = [i for i in range(T) if i != t]
        parts = (samples.probs[kept], samples.box[kept], samples.box_log_variance[kept])
        expected = summarise(Samples(*parts))
        assert without.mean_probs[t] == pytest.approx(expected.mean_probs)
        assert without.expected_entropy[t] == pytest.approx(expected.expected_entropy)
        assert without.votes[t] == pytest.approx(expected.votes)
        assert without.epistemic[t] == pytest.approx(expected.epistemic, abs=1e-9)


def test_summary_of_one_draw_is_that_draw() -> None:
    samples = draws(np.random.default_rng(1), samples=1)
    summary = summarise(samples)
    assert summary.mean_probs == pytest.approx(samples.probs[0])
    assert summary.expected_entropy == pytest.approx(entropy(samples.probs[0]))
    assert summary.epistemic == pytest.approx(np.zeros((D, 7)), abs=1e-12)
