import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from quandary_server.evaluation.savings import Better, Curve, Saving, labels_at, labels_saved, monotone, target_value

LABELS = np.array([100, 200, 300, 400])
VALUES = arrays(np.float64, 4, elements=st.floats(0, 1))


def curve(*values: float, labels: np.ndarray = LABELS) -> Curve:
    return Curve(labels, np.array(values))


def line(rise: float, labels: np.ndarray) -> Curve:
    """A curve that rises by `rise` for each label."""
    return Curve(labels, rise * labels)


def saved(method: list[Curve], random: list[Curve], target: float, better: Better = Better.HIGHER, draws: int = 500) -> Saving:
    return labels_saved(method, random, target, better, np.random.default_rng(0), draws)


def test_the_running_best_never_gets_worse() -> None:
    values = np.array([[0.2, 0.5, 0.4, 0.6], [0.9, 0.1, 0.3, 0.0]])
    assert monotone(values, Better.HIGHER).tolist() == [[0.2, 0.5, 0.5, 0.6], [0.9, 0.9, 0.9, 0.9]]
    assert monotone(values, Better.LOWER).tolist() == [[0.2, 0.2, 0.2, 0.2], [0.9, 0.1, 0.1, 0.0]]


@pytest.mark.parametrize(
    ("target", "expected"),
    [(0.1, 100), (0.2, 100), (0.3, 150), (0.4, 200), (0.5, 350), (0.6, 400), (0.61, None)],
)
def test_the_first_crossing_is_interpolated_on_the_running_best(target: float, expected: float | None) -> None:
    noisy = curve(0.2, 0.4, 0.3, 0.6)
    assert labels_at(noisy, target, Better.HIGHER) == (None if expected is None else pytest.approx(expected))


def test_errors_cross_downwards() -> None:
    errors = curve(2.0, 1.0, 1.5, 0.5)
    assert labels_at(errors, 1.25, Better.LOWER) == pytest.approx(175)
    assert labels_at(errors, 3.0, Better.LOWER) == 100
    assert labels_at(errors, 0.4, Better.LOWER) is None


@given(VALUES, st.floats(0, 1), st.floats(0, 1))
def test_a_harder_target_needs_no_fewer_labels(values: np.ndarray, one: float, other: float) -> None:
    easy, hard = (labels_at(Curve(LABELS, values), target, Better.HIGHER) for target in sorted((one, other)))
    assert hard is None or (easy is not None and LABELS[0] <= easy <= hard + 1e-9 <= LABELS[-1] + 1e-6)


@given(VALUES, st.floats(0, 1))
def test_lower_mirrors_higher(values: np.ndarray, target: float) -> None:
    higher = labels_at(Curve(LABELS, values), target, Better.HIGHER)
    assert labels_at(Curve(LABELS, -values), -target, Better.LOWER) == higher


def test_targets_are_shares_of_the_full_pool() -> None:
    assert target_value(0.8, 0.95, Better.HIGHER) == pytest.approx(0.76)
    assert target_value(0.76, 0.95, Better.LOWER) == pytest.approx(0.8)
    with pytest.raises(ValueError, match="share must be in"):
        target_value(0.8, 1.2, Better.HIGHER)
    with pytest.raises(ValueError, match="at least 0"):
        target_value(-0.8, 0.95, Better.HIGHER)


def test_twice_as_fast_saves_half_for_sure() -> None:
    found = saved([line(2e-3, LABELS)] * 3, [line(1e-3, LABELS)] * 3, target=0.3)
    assert (found.method_labels, found.random_labels) == pytest.approx((150, 300))
    assert (found.value, found.low, found.high) == pytest.approx((0.5,) * 3)
    assert (found.method_reached, found.random_reached, found.seeds) == (True, True, 3)


def test_half_as_fast_costs_as_much_again() -> None:
    assert saved([line(1e-3, LABELS)], [line(2e-3, LABELS)], target=0.4).value == pytest.approx(-1.0)


def test_the_crossing_is_that_of_the_mean_curve_not_the_mean_of_crossings() -> None:
    method = [curve(0.0, 1.0, 1.0, 1.0), curve(0.0, 0.0, 0.0, 1.0)]
    # the mean rises 0, 0.5, 0.5, 1; the crossings of 0.5 alone are 150 and 350
    assert saved(method, [curve(0.0, 0.0, 0.0, 1.0)] * 2, target=0.5).method_labels == pytest.approx(200)


def test_a_method_that_never_gets_there_saves_nothing() -> None:
    found = saved([curve(0.1, 0.1, 0.1, 0.1)] * 2, [line(1e-3, LABELS)] * 2, target=0.3)
    assert (found.value, found.low, found.high) == (0.0, 0.0, 0.0)
    assert (found.method_reached, found.method_labels) == (False, 400)


def test_random_that_never_gets_there_counts_as_its_largest_budget() -> None:
    found = saved([line(1e-3, LABELS)] * 2, [curve(0.1, 0.1, 0.1, 0.1)] * 2, target=0.3)
    assert (found.value, found.random_labels) == pytest.approx((1 - 300 / 400, 400))
    assert (found.method_reached, found.random_reached) == (True, False)


def test_two_seeds_are_drawn_in_pairs() -> None:
    method, random = [line(2e-3, LABELS), line(4e-3, LABELS)], [line(1e-3, LABELS), line(2e-3, LABELS)]
    # the mean curves of both arms are those of a line, so each of the four possible draws saves half; unpaired they would not
    found = saved(method, random, target=0.4)
    assert (found.low, found.high) == pytest.approx((0.5, 0.5))


def test_the_interval_of_two_seeds_spans_both() -> None:
    method, random = [line(1e-3, LABELS), line(3e-3, LABELS)], [line(1e-3, LABELS)] * 2
    found = saved(method, random, target=0.3)
    assert (found.low, found.value, found.high) == pytest.approx((0.0, 0.5, 2 / 3))


def test_draws_that_do_not_reach_the_target_count_as_nothing_saved() -> None:
    method = [curve(0.1, 0.1, 0.1, 0.1), curve(0.5, 0.5, 0.5, 0.5)]
    found = saved(method, [curve(0.1, 0.2, 0.3, 0.4)] * 2, target=0.3)
    assert (found.low, found.value, found.high) == pytest.approx((0.0, 1 - 100 / 300, 1 - 100 / 300))


@given(arrays(np.float64, (3, 4), elements=st.floats(0, 1)), st.floats(0, 1), st.sampled_from(Better))
def test_random_against_itself_saves_nothing_in_any_draw(values: np.ndarray, target: float, better: Better) -> None:
    curves = [Curve(LABELS, row) for row in values]
    found = saved(curves, curves, target, better, draws=20)
    assert (found.value, found.low, found.high) == (0.0, 0.0, 0.0)


def test_one_seed_has_a_value_and_no_interval() -> None:
    found = saved([line(2e-3, LABELS)], [line(1e-3, LABELS)], target=0.3)
    assert found.value == pytest.approx(0.5)
    assert (found.low, found.high, found.seeds) == (None, None, 1)


def test_budgets_that_differ_by_a_few_labels_meet_on_one_grid() -> None:
    rng = np.random.default_rng(1)
    labels = [100 * np.arange(1, 6) + rng.integers(0, 9, 5) for _ in range(4)]
    found = saved([line(2e-3, own) for own in labels], [line(1e-3, own) for own in labels], target=0.4)
    assert (found.method_labels, found.random_labels) == pytest.approx((200, 400))


def test_the_interval_is_made_again_by_its_seed_and_narrows_with_seeds() -> None:
    rng = np.random.default_rng(2)

    def noisy(rise: float, seeds: int) -> list[Curve]:
        return [Curve(LABELS, rise * LABELS + rng.normal(0, 0.03, 4)) for _ in range(seeds)]

    method, random = noisy(2e-3, 40), noisy(1e-3, 40)
    many, few = saved(method, random, 0.3), saved(method[:5], random[:5], 0.3)
    assert many == saved(method, random, 0.3)
    assert many.low is not None
    assert many.high is not None
    assert few.low is not None
    assert few.high is not None
    assert many.low < many.value < many.high
    assert few.high - few.low > 1.5 * (many.high - many.low)


def test_what_is_no_curve_is_refused() -> None:
    with pytest.raises(ValueError, match="must be \\(R,\\)"):
        Curve(LABELS, np.ones(3))
    with pytest.raises(ValueError, match="R at least 1"):
        Curve(np.empty(0, int), np.empty(0))
    with pytest.raises(ValueError, match="increase from at least 1"):
        Curve(np.array([100, 100]), np.ones(2))
    with pytest.raises(ValueError, match="increase from at least 1"):
        Curve(np.array([0, 100]), np.ones(2))
    with pytest.raises(ValueError, match="finite"):
        curve(0.1, np.nan, 0.2, 0.3)


def test_arms_that_cannot_be_compared_are_refused() -> None:
    one = curve(0.1, 0.2, 0.3, 0.4)
    with pytest.raises(ValueError, match="equally many, at least one"):
        saved([one], [one, one], 0.3)
    with pytest.raises(ValueError, match="equally many, at least one"):
        saved([], [], 0.3)
    with pytest.raises(ValueError, match="equally many rounds"):
        saved([one, Curve(LABELS[:3], np.ones(3))], [one, one], 0.3)
    with pytest.raises(ValueError, match="more than a round"):
        saved([one, Curve(LABELS + 250, one.values)], [one, one], 0.3)
    with pytest.raises(ValueError, match="target must be finite"):
        saved([one], [one], np.nan)
    with pytest.raises(ValueError, match="at least 1 draw"):
        saved([one], [one], 0.3, draws=0)
