import numpy as np
import pytest

from quandary_server.uncertainty.jackknife import standard_error


def test_of_a_mean_it_is_the_standard_error_of_the_mean() -> None:
    draws = np.random.default_rng(0).normal(size=(12, 3))
    without = np.stack([np.delete(draws, t, axis=0).mean(axis=0) for t in range(12)])
    assert standard_error(without) == pytest.approx(draws.std(axis=0, ddof=1) / np.sqrt(12))
