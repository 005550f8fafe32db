import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from quandary_server.uncertainty.coverage import fit_variance_scales, gaussian_nll, interval_coverage, total_variance

D, P = 5, 3


def test_the_parts_add_up() -> None:
    aleatoric, epistemic = np.full((D, P), 2.0), np.full((D, P), 0.5)
    assert total_variance(aleatoric, epistemic) == pytest.approx(np.full((D, P), 2.5))


def test_coverage_counts_what_lies_within_the_quantile_of_each_parameter() -> None:
    # 1.96 standard deviations hold 95 %; the second parameter's standard deviation is 2
    errors = np.array([[1.95, 3.9], [-1.95, -4.0], [1.97, 0.0], [0.0, 0.0]])
    variances = np.tile([1.0, 4.0], (4, 1))
    assert interval_coverage(errors, variances, level=0.95) == pytest.approx([0.75, 0.75])
    assert interval_coverage(errors, variances, level=0.5) == pytest.approx([0.25, 0.5])


def test_gaussian_errors_are_covered_at_every_level() -> None:
    rng = np.random.default_rng(0)
    variances = rng.uniform(0.1, 9.0, (20_000, P))
    errors = rng.normal(0.0, np.sqrt(variances))
    for level in (0.5, 0.8, 0.95):
        assert interval_coverage(errors, variances, level) == pytest.approx([level] * P, abs=0.015)


def test_nll_of_no_error_under_unit_variance_is_half_ln_two_pi() -> None:
    errors, variances = np.array([[0.0, 2.0]]), np.array([[1.0, 4.0]])
    half = 0.5 * np.log(2 * np.pi)
    assert gaussian_nll(errors, variances) == pytest.approx(np.array([[half, half + np.log(2) + 0.5]]))


def test_scales_undo_variances_that_are_off_by_a_factor() -> None:
    rng = np.random.default_rng(1)
    true = rng.uniform(0.1, 9.0, (20_000, P))
    errors = rng.normal(0.0, np.sqrt(true))
    assert fit_variance_scales(errors, true / [0.5, 1.0, 4.0]) == pytest.approx([0.5, 1.0, 4.0], rel=0.05)


def test_scale_closed_form() -> None:
    errors, variances = np.array([[1.0, 3.0], [2.0, 1.0]]), np.array([[1.0, 9.0], [2.0, 1.0]])
    assert fit_variance_scales(errors, variances) == pytest.approx([1.5, 1.0])


@given(
    arrays(np.float64, (D, P), elements=st.floats(0.01, 10)),
    arrays(np.float64, (D, P), elements=st.floats(0.01, 10)),
    st.floats(0.2, 5),
)
def test_no_other_scale_is_likelier(errors: np.ndarray, variances: np.ndarray, other: float) -> None:
    scales = fit_variance_scales(errors, variances)
    best = gaussian_nll(errors, variances * scales).mean(axis=0)
    assert (best <= gaussian_nll(errors, variances * scales * other).mean(axis=0) + 1e-9).all()


def test_wrong_shapes_and_variances_are_refused() -> None:
    errors, variances = np.ones((D, P)), np.ones((D, P))
    for function in (gaussian_nll, fit_variance_scales):
        with pytest.raises(ValueError, match="must both be"):
            function(errors, variances[:, :2])
        with pytest.raises(ValueError, match="must both be"):
            function(errors[0], variances[0])
        with pytest.raises(ValueError, match="positive and finite, the least is 0"):
            function(errors, 0 * variances)
        with pytest.raises(ValueError, match="errors must be finite"):
            function(np.nan * errors, variances)
    with pytest.raises(ValueError, match="must both be"):
        total_variance(variances, variances[:, :2])
    with pytest.raises(ValueError, match="at least 0"):
        total_variance(variances, -variances)


def test_no_detections_have_densities_but_no_shares() -> None:
    none = np.empty((0, P))
    assert gaussian_nll(none, none).shape == (0, P)
    with pytest.raises(ValueError, match="at least 1 detection"):
        interval_coverage(none, none, level=0.95)
    with pytest.raises(ValueError, match="at least 1 detection"):
        fit_variance_scales(none, none)


def test_a_level_is_a_share_and_faultless_errors_have_no_scale() -> None:
    with pytest.raises(ValueError, match="level must be in"):
        interval_coverage(np.ones((D, P)), np.ones((D, P)), level=95)
    with pytest.raises(ValueError, match="errors of parameter 1 are 0"):
        fit_variance_scales(np.array([[1.0, 0.0]]), np.ones((1, 2)))
