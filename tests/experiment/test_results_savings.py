from pathlib import Path

import pytest
from experiment.made_up import BUDGETS, POOL, SECONDS_PER_LABEL, arm, make_settings, replay, write

from quandary_server.experiment.folder import ArmPlan
from quandary_server.experiment.methods import RANDOM
from quandary_server.experiment.results.measures import CENTRE, MACRO_RECALL, SAVED
from quandary_server.experiment.results.records import Records
from quandary_server.experiment.results.savings import all_savings, saving_of

PAST_TARGET = {"budgets": [*BUDGETS, 6000, 7900], "stop_at": 7900}
NEEDED = (0.98 * 0.8 - 0.2) / 0.6 * POOL
"""Labels at which random sampling has 98 % of the whole pool's recall: 0.98 (0.2 + 0.6) = 0.2 + 0.6 N / 8000."""

HALF = {RANDOM: 2, "default": 2}


def test_labels_worth_twice_as_much_save_half_on_the_nose(tmp_path: Path) -> None:
    settings = make_settings({"main": replay(HALF, budgets=[*BUDGETS, 6000], stop_at=6000)})
    records = Records(write(tmp_path, settings, {"default": 2.0}))
    found = list(all_savings(records))
    assert len(found) == len(SAVED) * 3
    for saving in found:
        assert saving.saving.value == pytest.approx(0.5)
        assert saving.saving.low == pytest.approx(0.5)
        assert saving.saving.method_reached
        assert saving.left_out == 0


def test_hours_and_euros_follow_the_labels(tmp_path: Path) -> None:
    settings = make_settings({"main": replay(HALF, budgets=[*BUDGETS, 6000], stop_at=6000)}, cost={"euros_per_hour": 30})
    found = saving_of(Records(write(tmp_path, settings, {"default": 2.0})), "main", "default", MACRO_RECALL, 0.98)
    assert found is not None
    assert found.saving.random_labels == pytest.approx(NEEDED)
    assert found.against_hours == pytest.approx(NEEDED * SECONDS_PER_LABEL / 3600)
    assert found.hours == pytest.approx(NEEDED / 2 * SECONDS_PER_LABEL / 3600)
    assert found.sample()["euros_saved"] == pytest.approx(NEEDED / 2 * SECONDS_PER_LABEL / 3600 * 30)


def test_errors_have_their_target_above_the_full_pools(tmp_path: Path) -> None:
    settings = make_settings({"main": replay(HALF)})
    found = saving_of(Records(write(tmp_path, settings, {"default": 3.0})), "main", "default", CENTRE, 0.95)
    assert found is not None
    assert found.target == pytest.approx(1.0 / 0.95)


def test_what_a_method_saves_that_stops_before_the_target_is_not_known(tmp_path: Path) -> None:
    settings = make_settings({"main": replay(HALF)})
    found = saving_of(Records(write(tmp_path, settings, {"default": 1.0})), "main", "default", MACRO_RECALL, 0.98)
    assert found is not None
    sample = found.sample()
    assert not sample["reached"]
    assert sample["random_labels"] > sample["method_labels"] == BUDGETS[-1]
    assert {sample[name] for name in ("value", "low", "high", "at_most", "euros_saved")} == {None}
    assert "not reached" in found.caution


def test_a_method_that_does_not_reach_the_target_with_what_random_needed_saves_less_than_nothing(tmp_path: Path) -> None:
    settings = make_settings({"main": replay(HALF, **PAST_TARGET)})
    found = saving_of(Records(write(tmp_path, settings, {"default": 0.5})), "main", "default", MACRO_RECALL, 0.98)
    assert found is not None
    sample = found.sample()
    assert (sample["reached"], sample["random_reached"], sample["value"]) == (False, True, None)
    # at the best, the label after its last does it
    assert found.saving.at_most == pytest.approx(1 - 7901 / NEEDED)
    assert NEEDED < 7900


def test_a_draw_that_does_not_reach_the_target_counts_for_at_most_as_a_label_more_than_the_last(tmp_path: Path) -> None:
    settings = make_settings({"main": replay(HALF)})
    folder = write(tmp_path, settings, {})
    for seed, efficiency in enumerate((0.7, 0.98)):
        plan = ArmPlan("main", "default", seed)
        folder.write_arm(plan, arm(settings, plan, efficiency))
    found = saving_of(Records(folder), "main", "default", MACRO_RECALL, 0.5)
    assert found is not None
    # the mean of both reaches it, seed 0 alone, in a quarter of the draws, does not
    assert found.saving.method_reached
    assert found.saving.value == pytest.approx(1 - 1 / 0.84)
    assert found.saving.high == 0.0
    assert found.saving.at_most == pytest.approx(1 - 1 / 0.98)


def test_at_most_is_the_upper_end_where_every_draw_reaches_the_target(tmp_path: Path) -> None:
    settings = make_settings({"main": replay(HALF)})
    found = saving_of(Records(write(tmp_path, settings, {"default": 3.0}, noise=0.01)), "main", "default", CENTRE, 0.98)
    assert found is not None
    assert found.saving.at_most == found.saving.high


def test_random_sampling_that_does_not_reach_the_target_either_tells_nothing(tmp_path: Path) -> None:
    settings = make_settings({"repeats": replay({RANDOM: 2, "mi_box": 2, "default": 2})})
    records = Records(write(tmp_path, settings, {}))
    found = saving_of(records, "repeats", "default", MACRO_RECALL, 0.98, against="mi_box")
    assert found is not None
    assert (found.saving.method_reached, found.saving.random_reached, found.saving.at_most) == (False, False, None)


def test_seeds_whose_arm_is_not_complete_are_left_out_and_counted(tmp_path: Path) -> None:
    settings = make_settings({"main": replay({RANDOM: 3, "default": 3})})
    found = saving_of(
        Records(write(tmp_path, settings, {"default": 3.0}, stopped={"default": 2})), "main", "default", MACRO_RECALL, 0.98
    )
    assert found is not None
    assert (found.saving.seeds, found.left_out) == (2, 1)


def test_a_seed_needs_random_sampling_too(tmp_path: Path) -> None:
    settings = make_settings({"main": replay({RANDOM: 3, "default": 3})})
    records = Records(write(tmp_path, settings, {"default": 3.0}, stopped={RANDOM: 2}))
    found = saving_of(records, "main", "default", MACRO_RECALL, 0.98)
    assert found is not None
    assert (found.saving.seeds, found.left_out) == (2, 1)


@pytest.mark.parametrize(
    ("methods", "changes", "skip"),
    [(HALF, {}, ("default",)), (HALF, {}, (RANDOM,)), (HALF, {"full_pool": False}, ())],
)
def test_without_pairs_or_a_full_pool_a_saving_is_undetermined(
    methods: dict[str, int], changes: dict[str, bool], skip: tuple[str, ...], tmp_path: Path
) -> None:
    settings = make_settings({"main": replay(methods, **changes)})
    records = Records(write(tmp_path, settings, {"default": 2.0}, skip=skip))
    assert saving_of(records, "main", "default", MACRO_RECALL, 0.98) is None
    assert list(all_savings(records)) == []


def test_one_seed_has_a_saving_without_an_interval(tmp_path: Path) -> None:
    settings = make_settings({"main": replay({RANDOM: 1, "default": 1})})
    found = saving_of(Records(write(tmp_path, settings, {"default": 3.0})), "main", "default", MACRO_RECALL, 0.98)
    assert found is not None
    assert found.saving.value == pytest.approx(2 / 3)
    assert found.saving.low is None
    assert found.saving.at_most is None


def test_two_methods_are_compared_at_the_target_of_the_full_pool(tmp_path: Path) -> None:
    settings = make_settings(
        {"repeats": replay({RANDOM: 2, "mi_box": 2, "mi_box_folded": 2}, stop_at=6000, budgets=[100, 6000])}
    )
    records = Records(write(tmp_path, settings, {"mi_box": 2.0, "mi_box_folded": 4.0}))
    found = saving_of(records, "repeats", "mi_box_folded", MACRO_RECALL, 0.98, against="mi_box")
    assert found is not None
    assert found.saving.value == pytest.approx(0.5)
    assert found.sample()["against"] == "mi_box"
