from dataclasses import replace

import numpy as np
import pytest
from experiment.conftest import CROPS_PER_FRAME, toy_settings

from quandary.errors import InvalidArgument
from quandary.options import Estimator
from quandary_server.detector.assessment import BACKGROUND_INDEX
from quandary_server.experiment.judging.held_out import check_held_out, judged_held_out
from quandary_server.experiment.methods import METHODS, RANDOM
from quandary_server.experiment.pools.crops import Crops, Pool
from quandary_server.experiment.replay.arm import Arm, budgets, check_pool
from quandary_server.experiment.replay.rounds import ArmRecord
from quandary_server.experiment.runner import estimators_of
from quandary_server.experiment.settings import ExperimentSettings

TIMES = {"cpu_seconds": 0.0, "wall_seconds": 0.0}


def records(
    settings: ExperimentSettings, pool: Pool, method: str, seed: int = 0, before: ArmRecord | None = None
) -> list[ArmRecord]:
    estimators = estimators_of(settings.replays["main"], method)
    return list(Arm(settings, "main", pool, method, seed, estimators).run(before))


def labelled(record: ArmRecord) -> list[int]:
    return [*record.first, *(i for r in record.rounds for i in r.picked)]


def timeless(record: ArmRecord) -> ArmRecord:
    return record.model_copy(update={"rounds": tuple(r.model_copy(update=TIMES) for r in record.rounds)})


@pytest.mark.parametrize("method", list(METHODS))
def test_every_method_asks_for_as_many_new_crops_as_its_budgets_say(toy_pool: Pool, method: str) -> None:
    settings = toy_settings(methods={method: 1, RANDOM: 1})
    *_, last = records(settings, toy_pool, method)
    assert [r.labels for r in last.rounds] == budgets(settings.replays["main"], method, 60)
    assert len(set(labelled(last))) == len(labelled(last)) == last.rounds[-1].labels
    assert last.complete
    for number, r in enumerate(last.rounds):
        own = labelled(last)[: r.labels]
        assert sum(r.classes.values()) == r.labels
        assert r.classes["Car"] == sum(toy_pool.pool.examples.classes[own] == 0)
        assert r.number == number
        assert METHODS[method].estimator.value in r.figures


def test_all_methods_of_a_seed_begin_with_the_same_labels_and_the_same_net(toy_pool: Pool) -> None:
    settings = toy_settings(methods={"random": 1, "mi_box": 1, "box": 1})
    first = {method: records(settings, toy_pool, method)[0] for method in settings.replays["main"].methods}
    ensemble = Estimator.ENSEMBLE_MC_DROPOUT.value
    assert len({tuple(r.first) for r in first.values()}) == 1
    assert len({tuple(r.rounds[0].figures[ensemble].items()) for r in first.values()}) == 1
    other = records(settings, toy_pool, "random", seed=1)[0]
    assert other.first != first["random"].first


def test_the_seed_of_the_experiment_changes_first_labels_nets_and_queries(toy_pool: Pool) -> None:
    settings = toy_settings(methods={"random": 1, "mi_box": 1})
    other = settings.model_copy(update={"seed": 1})
    for method in ("random", "mi_box"):
        own, theirs = (records(asked, toy_pool, method) for asked in (settings, other))
        assert own[0].first != theirs[0].first
        # from the same labels on, another net and other picks
        begun = ArmRecord(replay="main", method=method, seed=0, first=own[0].first)
        moved = records(other, toy_pool, method, before=begun)[0]
        assert moved.rounds[0].figures != own[0].rounds[0].figures
        assert moved.rounds[0].picked != own[0].rounds[0].picked


def test_a_training_without_a_class_follows_both_seeds(toy_pool: Pool) -> None:
    settings = toy_settings()
    found = judged_held_out(settings, toy_pool, "Car", 0)
    assert found["crops"] == 80
    assert judged_held_out(settings, toy_pool, "Car", 0) == found
    assert judged_held_out(settings, toy_pool, "Car", 1)["auroc"] != found["auroc"]
    assert judged_held_out(settings.model_copy(update={"seed": 1}), toy_pool, "Car", 0)["auroc"] != found["auroc"]


def test_a_class_that_the_evaluation_drives_do_not_show_is_refused(toy_pool: Pool) -> None:
    check_held_out(["Car", "Pedestrian"], toy_pool)
    with pytest.raises(InvalidArgument, match=r"held_out\.classes\.1 is Van, 0 of 240 crops .*, must be a class that some"):
        check_held_out(["Car", "Van"], toy_pool)
    cars = toy_pool.evaluation.take(toy_pool.evaluation.examples.classes == 0)
    with pytest.raises(InvalidArgument, match=r"held_out\.classes\.0 is Car, 80 of 80 crops .*, must be .* and others not"):
        check_held_out(["Car"], replace(toy_pool, evaluation=cars))


def test_a_pool_that_cannot_bear_its_replay_is_refused(toy_pool: Pool) -> None:
    replay = toy_settings(budgets=(30, 60), stop_at=60, judge=True).replays["main"]
    check_pool("main", replay, toy_pool)
    few = replace(toy_pool, pool=toy_pool.pool.take(np.arange(59)))
    with pytest.raises(InvalidArgument, match=r"replays\.main\.budgets\.1 is 60, must be at most 59, the crops"):
        check_pool("main", replay, few)
    unjudged = replace(toy_pool, evaluation=toy_pool.evaluation.take(np.arange(57)))
    with pytest.raises(InvalidArgument, match=r"replays\.main\.pool is 57 crops of evaluation drives, must be at least 20 of"):
        check_pool("main", replay, unjudged)
    cars = replace(toy_pool, pool=Crops.joined([toy_pool.pool.take(toy_pool.pool.examples.classes == 0)] * 3))
    with pytest.raises(InvalidArgument, match=r"must be at least 20 of each of 2 classes that are trained on"):
        check_pool("main", replay, cars)
    background = toy_pool.control.take(toy_pool.control.examples.classes == BACKGROUND_INDEX)
    for nothing in (Crops.joined([]), background):
        uncalibrated = replace(toy_pool, control=nothing)
        with pytest.raises(InvalidArgument, match=r"replays\.main\.judge is true, must be false: .* objects of control drives"):
            check_pool("main", replay, uncalibrated)
        check_pool("main", replay.model_copy(update={"judge": False}), uncalibrated)


@pytest.mark.parametrize(("asked", "told"), [((6, 8, 30), "6, 8"), ((6, 12, 58), "58, 60")])
def test_frames_that_are_larger_than_the_steps_between_budgets_are_refused(
    toy_pool: Pool, asked: tuple[int, ...], told: str
) -> None:
    replay = toy_settings(unit="frame", budgets=asked, stop_at=None).replays["main"]
    with pytest.raises(InvalidArgument, match=rf"replays\.main\.budgets is {told}, must be at least 3 from each to the next"):
        check_pool("main", replay, toy_pool)
    check_pool("main", replay.model_copy(update={"unit": "crop"}), toy_pool)
    check_pool("main", replay.model_copy(update={"budgets": (6, 9, 57)}), toy_pool)


def test_random_sampling_ends_with_the_whole_pool_and_is_judged_by_every_estimator(toy_pool: Pool) -> None:
    settings = toy_settings(methods={"random": 1, "mi_box": 1, "softmax_entropy": 1}, judge=True)
    *_, last = records(settings, toy_pool, RANDOM)
    assert sorted(labelled(last)) == list(range(60))
    assert set(last.rounds[-1].figures) == {"ensemble_mc_dropout", "softmax"}
    assert last.uncertainty is not None
    assert set(last.uncertainty) == {"softmax", "mc_dropout", "deep_ensemble", "ensemble_mc_dropout"}


def test_what_a_method_taught_is_judged_by_its_own_estimator_where_asking_stops(toy_pool: Pool) -> None:
    settings = toy_settings(methods={"random": 1, "softmax_entropy": 1}, judge=True)
    for method, estimators in ((RANDOM, 4), ("softmax_entropy", 1)):
        found = records(settings, toy_pool, method)
        last = found[-1]
        assert [record.at_stop is not None for record in found] == [record.rounds[-1].labels >= 24 for record in found]
        assert last.at_stop is not None
        assert last.at_stop.labels == 24
        assert len(last.at_stop.uncertainty) == estimators
        assert "softmax" in last.at_stop.uncertainty
        assert (last.uncertainty is None) == (method != RANDOM)
    unjudged = toy_settings(methods={"random": 1, "softmax_entropy": 1})
    assert records(unjudged, toy_pool, "softmax_entropy")[-1].at_stop is None


def test_an_arm_that_was_stopped_ends_as_one_that_was_not(toy_pool: Pool) -> None:
    settings = toy_settings()
    whole = records(settings, toy_pool, "mi_box")
    resumed = records(settings, toy_pool, "mi_box", before=ArmRecord.model_validate_json(whole[1].model_dump_json()))
    assert len(resumed) == len(whole) - 2
    assert timeless(resumed[-1]).model_dump_json() == timeless(whole[-1]).model_dump_json()


def test_a_queried_frame_costs_all_its_crops(toy_pool: Pool) -> None:
    settings = toy_settings(unit="frame", full_pool=False, budgets=(5, 13, 24))
    for method in ("random", "mi_box"):
        *_, last = records(settings, toy_pool, method)
        frames, counts = np.unique(toy_pool.pool.examples.frames[labelled(last)], return_counts=True)
        assert set(counts.tolist()) == {CROPS_PER_FRAME}
        # as near to the budgets as whole frames allow
        assert [r.labels for r in last.rounds] == [6, 12, 24]
        assert len(frames) == 8


def test_labelling_seconds_count_frames_crops_and_boxes(toy_pool: Pool) -> None:
    settings = toy_settings(unit="frame", full_pool=False)
    first = records(settings, toy_pool, "random")[0].rounds[0]
    cost = settings.cost
    assert first.labels == 6
    assert first.labelling_seconds == pytest.approx(
        2 * cost.seconds_per_frame + 6 * cost.seconds_per_crop + 4 * cost.seconds_per_box
    )


def test_budgets_beyond_the_pool_are_left_out_and_only_random_sampling_goes_beyond_the_stop() -> None:
    replay = toy_settings(budgets=(6, 12, 24, 48, 100), stop_at=24).replays["main"]
    assert budgets(replay, "mi_box", 60) == [6, 12, 24]
    assert budgets(replay, RANDOM, 60) == [6, 12, 24, 48, 60]
    assert budgets(toy_settings(budgets=(6, 60), stop_at=None).replays["main"], RANDOM, 60) == [6, 60]
