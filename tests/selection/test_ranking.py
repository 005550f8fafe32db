import numpy as np
import pytest

from quandary_server.selection.ranking import power_order, random_order, top_k, within_budget


def test_top_k_is_by_score_then_id() -> None:
    assert top_k(np.array([1.0, 2.0, 1.0]), np.array(["b", "c", "a"])).tolist() == [1, 2, 0]


def test_power_sampling_takes_the_first_in_proportion_to_the_powered_score() -> None:
    rng = np.random.default_rng(0)
    scores = np.array([1.0, 0.0, 2.0, 3.0])
    orders = np.array([power_order(scores, rng, power=2.0) for _ in range(4000)])
    assert np.bincount(orders[:, 0], minlength=4) / 4000 == pytest.approx(np.array([1, 0, 4, 9]) / 14, abs=0.03)
    assert (orders[:, -1] == 1).all()


def test_power_sampling_of_equal_scores_is_chance_also_where_all_are_zero() -> None:
    for scores in (np.full(3, 5.0), np.zeros(3)):
        rng = np.random.default_rng(1)
        firsts = np.bincount([power_order(scores, rng)[0] for _ in range(3000)], minlength=3)
        assert firsts / 3000 == pytest.approx([1 / 3] * 3, abs=0.04)


def test_power_sampling_refuses_what_is_below_zero() -> None:
    with pytest.raises(ValueError, match=r"least is -0\.5"):
        power_order(np.array([1.0, -0.5]), np.random.default_rng(0))


def test_random_order_has_each_once_and_follows_the_seed() -> None:
    first, again = (random_order(np.random.default_rng(3), 50) for _ in range(2))
    assert sorted(first.tolist()) == list(range(50))
    assert first.tolist() == again.tolist() != list(range(50))


def test_a_budget_ends_the_picks_at_the_first_that_is_too_dear_but_leaves_one() -> None:
    order, seconds = np.array([2, 0, 1]), np.array([50.0, 1.0, 10.0])
    assert within_budget(order, seconds, 0.0).tolist() == [2]
    assert within_budget(order, seconds, 9.0).tolist() == [2]
    assert within_budget(order[:0], seconds, 9.0).tolist() == []
    assert within_budget(order, seconds, 59.0).tolist() == [2]
    assert within_budget(order, seconds, 60.0).tolist() == [2, 0]
    assert within_budget(order, seconds, 1e9).tolist() == [2, 0, 1]
    with pytest.raises(ValueError, match="budget_s must be >= 0"):
        within_budget(order, seconds, -1.0)
