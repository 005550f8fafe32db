import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quandary_server.uncertainty.calibration import (
    TEMPERATURES,
    brier_scores,
    expected_calibration_error,
    fit_temperature,
    negative_log_likelihoods,
    reliability,
)
from quandary_server.uncertainty.samples import softmax

T, D, C = 4, 300, 3


def test_ignorance_costs_ln_c_and_certainty_nothing() -> None:
    probs = np.array([[1 / 3] * 3, [1.0, 0.0, 0.0]])
    assert negative_log_likelihoods(probs, np.array([2, 0])) == pytest.approx([np.log(3), 0.0])


def test_certain_and_wrong_is_finite() -> None:
    assert np.isfinite(negative_log_likelihoods(np.array([[1.0, 0.0]]), np.array([1]))).all()


def test_brier_is_two_for_certain_and_wrong() -> None:
    assert brier_scores(np.array([[1.0, 0.0], [1.0, 0.0], [0.5, 0.5]]), np.array([0, 1, 1])) == pytest.approx([0, 2, 0.5])


def test_calibrated_confidence_has_no_error_and_certain_nonsense_all_of_it() -> None:
    confidence = np.array([[0.75, 0.25]] * 4)
    assert expected_calibration_error(confidence, np.array([0, 0, 0, 1])) == pytest.approx(0.0)
    assert expected_calibration_error(np.array([[1.0, 0.0]] * 4), np.array([1, 1, 1, 1])) == pytest.approx(1.0)


def test_bins_weigh_by_their_size() -> None:
    probs = np.array([[1.0, 0.0]] * 3 + [[0.6, 0.4]])
    assert expected_calibration_error(probs, np.array([0, 0, 0, 1])) == pytest.approx(0.6 / 4)


def test_reliability_holds_means_and_counts_and_empty_bins_hold_zero() -> None:
    probs = np.array([[0.6, 0.4], [0.7, 0.3], [0.0, 1.0]])
    found = reliability(probs, np.array([0, 1, 1]), bins=4)
    assert found.edges == pytest.approx([0, 0.25, 0.5, 0.75, 1])
    assert found.counts.tolist() == [0, 0, 2, 1]
    assert found.confidence == pytest.approx([0, 0, 0.65, 1])
    assert found.accuracy == pytest.approx([0, 0, 0.5, 1])
    assert expected_calibration_error(probs, np.array([0, 1, 1]), bins=4) == pytest.approx(0.15 * 2 / 3)


def test_reliability_of_nothing_is_empty_and_of_no_bins_refused() -> None:
    none = np.empty((0, C)), np.empty(0, int)
    assert reliability(*none).counts.tolist() == [0] * 15
    assert expected_calibration_error(*none) == 0.0
    with pytest.raises(ValueError, match="at least 1 bin"):
        reliability(*none, bins=0)


def test_temperature_of_two_classes_is_the_margin_over_the_log_odds() -> None:
    logits = np.tile([3.0, 0.0], (1, 4, 1))
    assert fit_temperature(logits, np.array([0, 0, 0, 1])) == pytest.approx(3 / np.log(3), rel=1e-4)


def test_it_is_fit_to_the_mean_of_softmaxes_not_the_softmax_of_means() -> None:
    # the mean of sigmoid(3 / t) and 1/2 is 0.7 where the first is 0.9
    logits = np.stack([np.tile([3.0, 0.0], (10, 1)), np.zeros((10, 2))])
    assert fit_temperature(logits, np.array([0] * 7 + [1] * 3)) == pytest.approx(3 / np.log(9), rel=1e-4)


def drawn(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Logits (T, D, C) of draws that scatter, and classes (D,) drawn from what the mean of their softmaxes promises."""
    rng = np.random.default_rng(seed)
    logits = (rng.normal(0, 1.5, (1, D, C)) + rng.normal(0, 0.7, (T, D, C))).astype(np.float32)
    return logits, np.array([rng.choice(C, p=p) for p in softmax(logits).mean(axis=0)])


@settings(max_examples=20)
@given(st.integers(0, 50), st.floats(0.2, 5.0))
def test_scaled_logits_have_a_scaled_temperature_and_no_other_is_likelier(seed: int, scale: float) -> None:
    logits, classes = drawn(seed)
    scaled = (scale * logits).astype(np.float32)
    fitted = fit_temperature(scaled, classes)
    assert fitted == pytest.approx(scale * fit_temperature(logits, classes), rel=1e-3)

    def nll(temperature: float) -> float:
        return float(negative_log_likelihoods(softmax(scaled, temperature).mean(axis=0), classes).mean())

    assert all(nll(fitted) <= nll(fitted * factor) + 1e-9 for factor in (0.5, 0.9, 1.1, 2.0))


def test_calibrated_samples_keep_a_temperature_of_one() -> None:
    assert np.mean([fit_temperature(*drawn(seed)) for seed in range(10)]) == pytest.approx(1.0, abs=0.1)


def test_where_all_are_right_it_is_coldest_and_where_all_are_wrong_hottest() -> None:
    logits = np.tile([0.1, 0.0, 0.0], (2, 4, 1))
    assert fit_temperature(logits, np.zeros(4, int)) == pytest.approx(TEMPERATURES[0], rel=1e-3)
    assert fit_temperature(10 * logits, np.ones(4, int)) == pytest.approx(TEMPERATURES[1], rel=1e-3)


def test_logits_that_no_temperature_can_be_fit_to_are_refused() -> None:
    logits, classes = np.zeros((T, D, C)), np.zeros(D, int)
    with pytest.raises(ValueError, match="T and D at least 1"):
        fit_temperature(logits[:, :0], classes[:0])
    with pytest.raises(ValueError, match="must be"):
        fit_temperature(logits, classes[1:])
    with pytest.raises(ValueError, match="finite"):
        fit_temperature(np.full((T, D, C), np.inf), classes)
    with pytest.raises(ValueError, match="class indices must be in"):
        fit_temperature(logits, classes + C)
