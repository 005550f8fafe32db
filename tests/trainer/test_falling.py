"""When live figures count as fallen."""

from collections.abc import Sequence
from datetime import timedelta

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from quandary_server.registry.live import SCORES, SECONDS, LiveCounts
from quandary_server.settings.promotion import WatchSettings
from quandary_server.trainer.falling import (
    MIN_CROPS,
    PairedCrops,
    errors_risen,
    fallen,
    histogram_distance,
    latency_risen,
    median_s,
    quality_fallen,
    scores_moved,
    share_interval,
)
from quandary_server.trainer.moves import Cause

BOUNDS = WatchSettings(min_answers=100)
MANY = 1000
counts = st.integers(0, 10_000)
histograms = st.lists(st.integers(0, 50), min_size=len(SCORES) + 1, max_size=len(SCORES) + 1)


def of(answers: int = MANY, failures: int = 0, seconds: dict[int, int] | None = None, score: int | None = None) -> LiveCounts:
    """Counts whose latencies lie in these bins, and whose scores all lie in one."""
    took, scores = [0] * (len(SECONDS) + 1), [0] * (len(SCORES) + 1)
    for place, count in (seconds or {}).items():
        took[place] = count
    if score is not None:
        scores[score] = answers
    return LiveCounts(generation="g", answers=answers, failures=failures, seconds=tuple(took), scores=tuple(scores))


def crops(worse: float, count: int = 200, frames: int = 20, noise: float = 0.1) -> PairedCrops:
    rng = np.random.default_rng(0)
    before = rng.exponential(0.5, count)
    names = [f"f{k % frames}" for k in range(count)]
    zeros = np.zeros(count)
    return PairedCrops(before + worse + rng.normal(0, noise, count), before, zeros, zeros, ["drive"] * count, names)


@given(counts, counts, counts)
def test_an_answer_that_does_not_fail_never_counts_against_a_generation(answers: int, before: int, failed: int) -> None:
    assert errors_risen(of(answers), of(before, min(failed, before)), BOUNDS) is None


@given(st.integers(100, 10_000), st.data())
def test_more_failures_are_never_better(answers: int, data: st.DataObject) -> None:
    few, many = sorted(data.draw(st.tuples(st.integers(0, answers), st.integers(0, answers))))
    before = of(answers, data.draw(st.integers(0, answers)))
    if errors_risen(of(answers, few), before, BOUNDS) is not None:
        assert errors_risen(of(answers, many), before, BOUNDS) is not None


@given(st.integers(1, 10_000), st.data())
def test_the_interval_of_a_share_holds_it(count: int, data: st.DataObject) -> None:
    hits = data.draw(st.integers(0, count))
    low, high = share_interval(hits, count)
    assert 0 <= low <= hits / count + 1e-12
    assert hits / count - 1e-12 <= high <= 1


def test_failures_that_were_there_before_are_not_held_against_it_and_others_are() -> None:
    assert errors_risen(of(failures=100), of(failures=100), BOUNDS) is None
    fall = errors_risen(of(failures=100), of(failures=0), BOUNDS)
    assert fall is not None
    assert (fall.cause, fall.reason) == (Cause.ERRORS, "100 of 1000 answers failed, 0 of 1000 before")
    first = errors_risen(of(failures=100), of(answers=0), BOUNDS)
    assert first is not None
    assert first.reason == "100 of 1000 answers failed, none is known of before"
    assert errors_risen(of(99, 99), of(), BOUNDS) is None, "too few answers to tell"


def test_the_median_is_the_upper_edge_of_its_bin() -> None:
    assert median_s(of(seconds={3: 10}).seconds) == SECONDS[3]
    assert median_s(of(seconds={3: 10, 5: 9}).seconds) == SECONDS[3]
    assert median_s(of(seconds={3: 9, 5: 10}).seconds) == SECONDS[5]
    assert median_s(of(seconds={len(SECONDS): 1}).seconds) == SECONDS[-1]


def test_answers_that_take_many_times_as_long_count_and_those_that_are_short_all_the_same_do_not() -> None:
    slow, quick = of(seconds={30: 500}), of(seconds={16: 500})
    fall = latency_risen(slow, quick, BOUNDS)
    assert fall is not None
    assert fall.reason == f"the median answer takes {SECONDS[30] * 1e3:.0f} ms, before {SECONDS[16] * 1e3:.0f} ms"
    assert latency_risen(quick, slow, BOUNDS) is None
    assert latency_risen(of(seconds={8: 500}), of(seconds={2: 500}), BOUNDS) is None, "within the slack"
    assert latency_risen(slow, of(seconds={16: 99}), BOUNDS) is None, "too few before"
    assert latency_risen(of(seconds={17: 500}), quick, BOUNDS.model_copy(update={"latency_slack": timedelta()})) is None


@given(histograms, histograms)
def test_the_distance_of_histograms_is_symmetric_and_in_bounds(first: Sequence[int], second: Sequence[int]) -> None:
    first, second = [*first[:-1], 1], [*second[:-1], 1]
    assert 0 <= histogram_distance(first, second) == histogram_distance(second, first) <= 1
    assert histogram_distance(first, first) == 0


def test_scores_that_all_went_elsewhere_count() -> None:
    fall = scores_moved(of(score=0), of(score=20), BOUNDS)
    assert fall is not None
    assert fall.cause is Cause.SCORES
    assert scores_moved(of(score=20), of(score=20), BOUNDS) is None
    assert scores_moved(of(score=0), of(99, score=20), BOUNDS) is None
    assert scores_moved(of(score=0), of(score=20), BOUNDS.model_copy(update={"max_score_distance": 1.0})) is None


def test_control_labels_that_are_answered_worse_count_where_there_are_enough() -> None:
    fall = quality_fallen(crops(0.2), BOUNDS)
    assert fall is not None
    assert fall.cause is Cause.QUALITY
    assert fall.reason.startswith("the NLL in nats on 200 new control crops is worse by [+0.")
    assert quality_fallen(crops(-0.2), BOUNDS) is None
    assert quality_fallen(crops(0.0), BOUNDS) is None
    assert quality_fallen(crops(0.2, MIN_CROPS - 1), BOUNDS) is None
    assert quality_fallen(crops(0.2, frames=4), BOUNDS) is None
    assert quality_fallen(None, BOUNDS) is None


def test_classes_that_are_wrong_more_often_count_too() -> None:
    same = crops(0.0)
    rng = np.random.default_rng(1)
    wrong = (rng.random(200) < 0.4).astype(np.float64)
    worse = PairedCrops(same.nll_before, same.nll_before, wrong, np.zeros(200), same.drives, same.frames)
    fall = quality_fallen(worse, BOUNDS)
    assert fall is not None
    assert fall.reason.startswith("the share of wrong classes on 200 new control crops")


def test_the_first_that_fell_is_told() -> None:
    now, before = of(failures=500, score=0), of(score=20)
    fall = fallen(now, before, BOUNDS)
    assert fall is not None
    assert fall.cause is Cause.ERRORS
    assert fallen(now, before, BOUNDS.model_copy(update={"min_answers": 10_000})) is None
