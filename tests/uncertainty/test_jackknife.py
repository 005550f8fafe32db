import numpy as np
import pytest

from quandary_server.uncertainty.jackknife import standard_error


def test_of_a_mean_it_is_the_standard_error_of_the_mean() -> None:
    draws = np.random.default_rng(0).normal(size=(12, 3))
    without = np.stack([np.delete(draws, t, axis=0).mean(axis=0) for t in range(12)])
    assert standard_error(without) == pytest.approx(draws.std(axis=0, ddof=1) / np.sqrt(12))


@pytest.mark.parametrize("count", [3, 7, 20, 60, 100])
def test_a_figure_alone_gets_the_same_bytes_as_in_company(count: int) -> None:
    without = np.random.default_rng(count).normal(size=(count, 70))
    together = standard_error(without)
    for first, stop in ((0, 1), (69, 70), (3, 5), (10, 40)):
        assert standard_error(without[:, first:stop]).tobytes() == together[first:stop].tobytes()
    assert standard_error(without[:, 5]).tobytes() == together[5].tobytes()
