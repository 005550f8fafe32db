import numpy as np
import pytest

from quandary_server.uncertainty.calibration import (
    brier_scores,
    expected_calibration_error,
    negative_log_likelihoods,
)


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
