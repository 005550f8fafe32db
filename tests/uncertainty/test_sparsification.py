import numpy as np
import pytest

from quandary_server.uncertainty.sparsification import REFERENCE_AUSE, STEPS, reference_self_test, sparsify


def reference(rng: np.random.Generator, count: int = 5000) -> tuple[np.ndarray, np.ndarray]:
    """Errors |N(0, sigma)| with lognormal(0, 0.7) sigma, and the sigma."""
    sigma = rng.lognormal(0.0, 0.7, count)
    return np.abs(rng.normal(0.0, sigma)), sigma


def test_reference_values() -> None:
    rng = np.random.default_rng(0)
    drawn = [reference_self_test(rng) for _ in range(10)]
    assert {name: np.mean([one[name] for one in drawn]) for name in drawn[0]} == {
        "true_sigma": pytest.approx(0.179, abs=0.005),
        "random": pytest.approx(0.668, abs=0.02),
        "perfect": pytest.approx(0.0),
    }


def test_one_draw_is_near_the_reference() -> None:
    for name, value in reference_self_test(np.random.default_rng(5)).items():
        assert value == pytest.approx(REFERENCE_AUSE[name], abs=0.05)


def test_ranking_by_the_error_is_perfect() -> None:
    errors, _ = reference(np.random.default_rng(1))
    perfect = sparsify(errors, errors)
    assert perfect.ause == pytest.approx(0.0)
    assert perfect.gain == pytest.approx(1.0)
    assert (np.diff(perfect.curve) <= 1e-12).all()


def test_a_constant_uncertainty_is_random() -> None:
    errors, _ = reference(np.random.default_rng(2))
    flat = sparsify(errors, np.ones(len(errors)))
    assert flat.curve == pytest.approx(np.ones(STEPS))
    assert flat.aurg == pytest.approx(0.0)
    assert flat.gain == pytest.approx(0.0)


def test_the_wrong_way_round_is_worse_than_random() -> None:
    errors, sigma = reference(np.random.default_rng(3))
    assert sparsify(errors, -sigma).gain < 0


def test_scale_of_errors_and_uncertainties_does_not_matter() -> None:
    errors, sigma = reference(np.random.default_rng(4), 200)
    assert sparsify(7 * errors, sigma**3).ause == pytest.approx(sparsify(errors, sigma).ause)


def test_nothing_to_rank_is_refused() -> None:
    with pytest.raises(ValueError, match="nothing to rank"):
        sparsify(np.zeros(5), np.arange(5.0))
    with pytest.raises(ValueError, match="equally many"):
        sparsify(np.ones(5), np.arange(4.0))
    with pytest.raises(ValueError, match="at least one"):
        sparsify(np.empty(0), np.empty(0))


def test_equal_errors_have_no_gain_but_a_value() -> None:
    assert sparsify(np.ones(10), np.arange(10.0)).gain == 0.0
