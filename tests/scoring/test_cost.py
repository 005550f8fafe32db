"""Estimates of work: proportions by the rule, the scale by what was measured."""

from typing import Any

import pytest
from support.scoring import LIMITS

from quandary import Estimator, ScoringOptions
from quandary.convert import frame_message
from quandary_server.scoring.cost import CostModel, Load, load_of


def load(estimator: Estimator, passes: int, samples: int, crops: int = 16) -> Load:
    return Load(estimator, frames=1, crops=crops, points=0, passes=passes, samples=samples)


def test_a_crop_of_the_whole_ensemble_costs_about_five_times_one_of_softmax_and_masks_cost_little() -> None:
    """As measured: 1 to 1.02 to 4.98 for SOFTMAX, 20 masks, 5 members of 20 masks (evidence of the design, 16 crops)."""
    softmax, masks = load(Estimator.SOFTMAX, 1, 1, 1000), load(Estimator.MC_DROPOUT, 1, 20, 1000)
    full = load(Estimator.ENSEMBLE_MC_DROPOUT, 5, 100, 1000)
    assert 1.0 < masks.rule_s / softmax.rule_s < 1.2
    assert 4.0 < full.rule_s / softmax.rule_s < 6.0


def test_work_adds_up_over_crops_and_points() -> None:
    one, two = load(Estimator.SOFTMAX, 1, 1, 10), load(Estimator.SOFTMAX, 1, 1, 20)
    assert two.rule_s - one.rule_s == pytest.approx(one.rule_s - load(Estimator.SOFTMAX, 1, 1, 0).rule_s)
    cloud = Load(Estimator.SOFTMAX, 1, 10, 120_000, 1, 1)
    assert cloud.rule_s > one.rule_s


def test_a_machine_three_times_as_slow_is_learnt() -> None:
    costs, work = CostModel(), load(Estimator.SOFTMAX, 1, 1)
    for _ in range(3):
        costs.learn(work, 3 * work.rule_s)
    assert costs.seconds(work) == pytest.approx(3 * work.rule_s)


def test_one_measurement_moves_the_estimate_by_a_tenth() -> None:
    costs, work = CostModel(), load(Estimator.SOFTMAX, 1, 1)
    costs.learn(work, work.rule_s)
    costs.learn(work, 2 * work.rule_s)
    assert costs.seconds(work) == pytest.approx(1.1 * work.rule_s)


def test_estimators_are_learnt_apart_and_unknown_ones_like_those_known() -> None:
    costs, softmax, full = CostModel(), load(Estimator.SOFTMAX, 1, 1), load(Estimator.DEEP_ENSEMBLE, 5, 5)
    assert costs.seconds(full) == full.rule_s
    costs.learn(softmax, 2 * softmax.rule_s)
    assert costs.seconds(full) == pytest.approx(2 * full.rule_s)
    costs.learn(full, 4 * full.rule_s)
    assert costs.seconds(softmax) == pytest.approx(2 * softmax.rule_s)


def test_the_load_of_frames_is_told_by_what_was_sent(make_frame: Any) -> None:
    frames = [frame_message(make_frame("a", proposals=3)), frame_message(make_frame("b", proposals=5).lightest())]
    assert load_of(frames, ScoringOptions(mc_samples=20), 3, LIMITS) == Load(
        Estimator.ENSEMBLE_MC_DROPOUT, frames=2, crops=8, points=2000, passes=3, samples=60
    )


def test_what_a_frame_claims_counts_up_to_the_limit(make_frame: Any) -> None:
    liar, mute, negative = (frame_message(make_frame("a")) for _ in range(3))
    liar.cloud.shape[:] = [1 << 60, 4]
    mute.cloud.shape[:] = []
    negative.cloud.shape[:] = [-5, 4]
    assert load_of([liar, mute, negative], ScoringOptions(), 1, LIMITS).points == LIMITS.max_points


def test_a_frame_of_too_many_proposals_costs_none_of_them(make_frame: Any) -> None:
    crowd = frame_message(make_frame("a", proposals=LIMITS.max_proposals + 1))
    assert load_of([crowd], ScoringOptions(), 1, LIMITS).crops == 0


def test_work_of_nothing_costs_something() -> None:
    costs, nothing = CostModel(), Load(Estimator.SOFTMAX, 0, 0, 0, 1, 1)
    costs.learn(nothing, 2e-5)
    assert costs.seconds(nothing) > 0
