import numpy as np
import pytest

from quandary_server.evaluation.bootstrap import paired_interval
from quandary_server.evaluation.unpaired import difference_interval


def names(count: int) -> list[str]:
    return [str(i) for i in range(count)]


def test_values_that_do_not_vary_differ_by_exactly_their_difference() -> None:
    rng = np.random.default_rng(0)
    assert difference_interval(np.full(6, 0.75), names(6), np.full(9, 0.25), names(9), rng) == pytest.approx((0.5, 0.5))


def test_against_a_constant_it_is_the_interval_of_the_other_side() -> None:
    values = np.random.default_rng(1).normal(size=40)
    alone = paired_interval(values, names(40), np.random.default_rng(2), draws=20_000)
    against = difference_interval(values, names(40), np.full(50, 3.0), names(50), np.random.default_rng(3), draws=20_000)
    assert against == pytest.approx((alone[0] - 3.0, alone[1] - 3.0), abs=0.02)


def test_variances_of_both_sides_add_up() -> None:
    rng = np.random.default_rng(4)
    first, second = rng.normal(size=400), rng.normal(size=400)
    low, high = difference_interval(first, names(400), second, names(400), rng, draws=20_000)
    assert (high - low) / 2 == pytest.approx(1.97 * np.sqrt((first.var() + second.var()) / 400), rel=0.05)


def test_whole_groups_are_drawn() -> None:
    rng = np.random.default_rng(5)
    values, other = np.repeat(rng.normal(size=20), 30), np.zeros(600)
    low, high = difference_interval(values, names(600), other, names(600), rng)
    grouped = difference_interval(values, [str(i // 30) for i in range(600)], other, names(600), rng)
    assert grouped[1] - grouped[0] > 3 * (high - low)


def test_one_group_on_a_side_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 2 groups"):
        difference_interval(np.zeros(3), names(3), np.zeros(3), ["a"] * 3, np.random.default_rng(0))
