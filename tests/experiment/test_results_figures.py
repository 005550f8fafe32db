import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from experiment.made_up import BUDGETS, all_methods, arm, judged, make_settings, replay, write

from quandary_server.bench.figures import Figure, write_document
from quandary_server.experiment.folder import ArmPlan, HeldOutPlan
from quandary_server.experiment.methods import FRAME_GAP_S, METHODS, RANDOM
from quandary_server.experiment.replay.rounds import JudgedClasses
from quandary_server.experiment.results.curves import mean_interval
from quandary_server.experiment.results.figures import experiment_figures, rounded
from quandary_server.experiment.results.headlines import HEADLINES, headline_figures
from quandary_server.experiment.results.judgements import Judgements
from quandary_server.experiment.results.records import Records
from quandary_server.experiment.settings import ExperimentSettings, load_experiment

LONG: dict[str, Any] = {"budgets": [*BUDGETS, 6000], "stop_at": 6000}
PAST_TARGET: dict[str, Any] = {"budgets": [*BUDGETS, 6000, 7900], "stop_at": 7900}
EFFICIENCIES = {"default": 3.0, "mc_mi": 2.0, "box": 1.5, "mi_box": 2.0, "mi_box_folded": 4.0}
REPEATED = {RANDOM: 2, "mi_box": 2, "default_folded": 2, "mi_box_folded": 2}
HELD_OUT = {"pool": {"source": {"kind": "fleet", "fleet": {}}}, "classes": ["Tram"], "seeds": 2}


def by_name(figures: list[Figure]) -> dict[str, Figure]:
    found = {figure.name: figure for figure in figures}
    assert len(found) == len(figures), "names must differ"
    return found


def full(root: Path, **changes: Any) -> dict[str, Figure]:
    replays = {
        "main": replay(all_methods(2), judge=True, **LONG),
        "repeats": replay(REPEATED, **LONG),
    }
    settings = make_settings(replays, held_out=HELD_OUT)
    return by_name(experiment_figures(write(root, settings, EFFICIENCIES, **changes)))


def test_the_headlines_have_their_values_and_bars(tmp_path: Path) -> None:
    figures = full(tmp_path)
    assert {h.name for h in HEADLINES} - set(figures) == {"quick_lead", "hours"}
    recall = figures["saved_macro_recall_98_low"]
    assert recall.value == pytest.approx(3 / 4, rel=1e-4)
    assert (recall.reach, recall.met) == (">= 0.6", True)
    assert recall.samples[0]["method"] == "mi_box_folded"
    assert figures["saved_centre_98_low"].met
    assert figures["saved_by_folding"].value == pytest.approx(0.5, rel=1e-4)
    folding = figures["saved_by_folding"].samples[0]
    assert (folding["method"], folding["against"]) == ("mi_box_folded", "mi_box")
    assert figures["sparsification_centre"].value == pytest.approx(1.0)
    assert figures["ece"].value == pytest.approx(0.02)
    assert (figures["ece"].reach, figures["ece"].met) == ("<= 0.03", True)
    # methods as good as random are stopped at 6000 labels, before random has reached anything: of them nothing is known
    worst, *unknown = figures["worst_active_saving_high"].samples
    assert figures["worst_active_saving_high"].value == pytest.approx(1 / 3, rel=1e-4)
    assert figures["worst_active_saving_high"].met
    assert worst["method"] == "box"
    assert {found["method"] for found in unknown} == set(METHODS) - set(EFFICIENCIES) - {RANDOM}
    assert not any(found["reached"] for found in unknown)


def test_a_method_that_never_reaches_what_random_does_fails_the_worst(tmp_path: Path) -> None:
    settings = make_settings({"main": replay({RANDOM: 2, "default": 2, "mc_mi": 2}, **PAST_TARGET)})
    figures = by_name(experiment_figures(write(tmp_path, settings, {"default": 3.0, "mc_mi": 0.5})))
    worst = figures["worst_active_saving_high"]
    assert worst.value < 0
    assert worst.met is False
    assert (worst.samples[0]["method"], worst.samples[0]["reached"]) == ("mc_mi", False)
    saved = figures["saved_main_mc_mi_macro_recall_98"]
    assert "not reached" in saved.unit
    assert saved.samples[0]["value"] is None


def test_where_nothing_is_known_of_any_method_the_worst_is_left_out(tmp_path: Path) -> None:
    settings = make_settings({"main": replay({RANDOM: 2, "default": 2})})
    assert "worst_active_saving_high" not in by_name(experiment_figures(write(tmp_path, settings, {})))


def test_a_headline_at_a_target_that_is_not_reached_says_so_and_is_not_met(tmp_path: Path) -> None:
    settings = make_settings({"main": replay({RANDOM: 2, "default": 2}), "repeats": replay(REPEATED)})
    figures = by_name(experiment_figures(write(tmp_path, settings, {"mi_box": 4.0})))
    for name in ("saved_macro_recall_98_low", "saved_by_folding"):
        assert figures[name].met is False
        assert "not reached" in figures[name].unit
        assert figures[name].samples[0]["value"] is None


@pytest.mark.parametrize("seed_missing_of", ["default", RANDOM])
def test_headlines_wait_for_every_seed_that_was_asked_for(seed_missing_of: str, tmp_path: Path) -> None:
    settings = make_settings({"main": replay({RANDOM: 3, "default": 3, "mc_mi": 2}, judge=True, **LONG)})
    folder = write(tmp_path, settings, EFFICIENCIES, stopped={seed_missing_of: 3})
    figures = by_name(experiment_figures(folder))
    assert figures["saved_main_default_macro_recall_98"].samples[0]["left_out"] == 1
    assert not [name for name in figures if name in ("hours", "saved_macro_recall_98_low", "worst_active_saving_high")]
    # the uncertainty is judged on random sampling alone
    assert ("ece" in figures) == ("sparsification_class" in figures) == (seed_missing_of != RANDOM)


def test_the_worst_waits_for_all_methods_the_best_for_those_on_all_seeds(tmp_path: Path) -> None:
    settings = make_settings({"main": replay({RANDOM: 3, "default": 3, "mc_mi": 2}, **LONG)})
    figures = by_name(experiment_figures(write(tmp_path, settings, EFFICIENCIES, skip=("mc_mi",))))
    assert "saved_macro_recall_98_low" in figures
    assert "worst_active_saving_high" not in figures


@pytest.mark.parametrize("stopped", [RANDOM, "mi_box", "mi_box_folded"])
def test_folding_waits_for_all_that_it_compares(stopped: str, tmp_path: Path) -> None:
    settings = make_settings({"repeats": replay(REPEATED | {stopped: 3}, **LONG)})
    complete = write(tmp_path / "complete", settings, EFFICIENCIES)
    assert "saved_by_folding" in by_name(experiment_figures(complete))
    assert "saved_by_folding" not in by_name(
        experiment_figures(write(tmp_path / "stopped", settings, EFFICIENCIES, stopped={stopped: 3}))
    )


def test_what_folds_differs_from_plain_top_k_in_nothing_but_the_gap() -> None:
    plain, folded = METHODS["mi_box"], METHODS["mi_box_folded"]
    assert (folded.estimator, folded.acquisition) == (plain.estimator, plain.acquisition)
    assert folded.plan == replace(plain.plan, gap_s=FRAME_GAP_S) != plain.plan


def test_a_seed_that_does_not_determine_a_ranking_leaves_its_headline_undetermined(tmp_path: Path) -> None:
    settings = make_settings({"main": replay({RANDOM: 2, "default": 2}, judge=True)})
    folder = write(tmp_path, settings, EFFICIENCIES)
    plan = ArmPlan("main", RANDOM, 1)
    folder.write_arm(plan, arm(settings, plan, 1.0, uncertainty=judged(1, determined=False)))
    figures = by_name(experiment_figures(folder))
    assert "sparsification_centre" not in figures
    assert {"sparsification_class", "ece"} <= set(figures)


def test_every_method_is_judged_beside_random_sampling_with_as_many_labels(tmp_path: Path) -> None:
    settings = make_settings({"main": replay({RANDOM: 2, "default": 2, "softmax_entropy": 1}, judge=True)})
    figures = by_name(experiment_figures(write(tmp_path, settings, EFFICIENCIES)))
    for where, estimator, seeds in (
        ("default", "ensemble_mc_dropout", 2),
        ("softmax_entropy", "softmax", 1),
        ("random_softmax", "softmax", 2),
        ("random_ensemble_mc_dropout", "ensemble_mc_dropout", 2),
    ):
        assert figures[f"ause_main_{where}_centre"].value == 0.0
        assert figures[f"ece_main_{where}"].value == pytest.approx(0.02)
        sample = figures[f"ause_main_{where}_class"].samples[0]
        assert (sample["estimator"], sample["labels"], sample["seeds"]) == (estimator, BUDGETS[-1], seeds)
        expected = [judged(seed)[estimator]["sparsification"]["class"]["predictive_entropy"]["ause"] for seed in range(seeds)]
        assert sample["ause"] == pytest.approx(sum(expected) / seeds, rel=1e-4)


def test_what_too_few_errors_determine_has_no_ause(tmp_path: Path) -> None:
    settings = make_settings({"main": replay({RANDOM: 1, "default": 1}, judge=True)})
    figures = by_name(experiment_figures(write(tmp_path, settings, EFFICIENCIES, determined=False)))
    assert "ause_main_default_class" in figures
    assert "ause_main_default_centre" not in figures


def hours_of(root: Path, settings: ExperimentSettings, *, finished: bool = True) -> list[Figure]:
    folder = write(root, settings, EFFICIENCIES)
    if not finished:
        (root / HeldOutPlan("Tram", 1).file).unlink()
    records = Records(folder)
    return [figure for figure in headline_figures(records, [], Judgements(records), 7200.0) if figure.name == "hours"]


def test_the_hours_are_those_of_the_whole_full_experiment_alone(tmp_path: Path) -> None:
    full_one = load_experiment("full")
    (hours,) = hours_of(tmp_path / "full", full_one)
    assert (hours.value, hours.reach, hours.met) == (2.0, "<= 8", True)
    assert not hours_of(tmp_path / "unfinished", full_one, finished=False)
    assert not hours_of(tmp_path / "part", full_one.part(["repeats", "held_out"], []))
    assert not hours_of(tmp_path / "other", load_experiment("quick"))


def test_every_figure_is_finite_and_the_document_is_json_without_nan(tmp_path: Path) -> None:
    figures = list(full(tmp_path).values())
    assert all(math.isfinite(figure.value) for figure in figures)
    write_document(tmp_path / "experiment.json", figures, "quandary experiment run full")
    json.loads((tmp_path / "experiment.json").read_text(), parse_constant=lambda name: pytest.fail(name))


def test_curves_carry_labels_mean_interval_and_seeds(tmp_path: Path) -> None:
    figures = full(tmp_path, noise=0.01)
    curve = figures["curve_main_default_macro_recall"]
    assert len(curve.samples) == len(BUDGETS) + 1
    labels, mean, low, high, seeds = curve.samples[-1]
    assert labels == 6000
    assert low < mean < high
    assert curve.value == mean
    assert seeds == 2
    assert len(figures["curve_main_random_macro_recall"].samples) == len(BUDGETS) + 2
    assert "curve_main_random_softmax_macro_recall" in figures
    assert "curve_main_random_ensemble_mc_dropout_macro_recall" not in figures


def test_what_is_told_besides(tmp_path: Path) -> None:
    figures = full(tmp_path)
    saving = figures["saved_main_mc_mi_accuracy_95"]
    assert saving.value == pytest.approx(0.5, rel=1e-4)
    assert saving.samples[0]["euros_saved"] > 0
    mixes = figures["classes_main_default"].samples
    assert [mix["labels"] for mix in mixes] == LONG["budgets"][1:]
    assert all(sum(mix["shares"].values()) == pytest.approx(1, rel=1e-3) for mix in mixes)
    # of six budgets after the first the third, not the last
    assert figures["classes_main_default"].value == mixes[2]["effective"] > figures["classes_main_random"].value
    assert len(figures["classes_main_pool"].samples) == 1
    assert figures["calibration_main_softmax_raw"].value == pytest.approx(0.08)
    assert figures["sparsification_main_mc_dropout_centre_total"].samples[0]["ause"] == pytest.approx(0)
    assert len(figures["sparsification_curve_main_softmax_class_predictive_entropy"].samples) == 25
    assert figures["reliability_main_softmax_raw"].samples == [[0.5, 0.42, 200], [0.9, 0.82, 600]]
    assert figures["auroc_ensemble_mc_dropout_mutual_information"].value == pytest.approx(0.8)
    assert figures["round_seconds_main_random"].samples[0] == [100, 300, 10, 9]
    assert figures["complete_main"].samples[0]["default"] == [2, 2, 2]
    assert figures["experiment"].samples[0]["replays"]["main"]["title"] == "made up"


def test_the_classes_of_the_macro_recall_are_told_where_they_were_kept(tmp_path: Path) -> None:
    settings = make_settings({"main": replay({RANDOM: 1, "default": 1})})
    folder = write(tmp_path, settings, EFFICIENCIES)
    assert "macro_recall_classes_main" not in by_name(experiment_figures(folder))
    folder.write_judged_classes({"main": JudgedClasses(judged={"Car": 300, "Van": 20}, left_out={"Tram": 4})})
    found = by_name(experiment_figures(folder))["macro_recall_classes_main"]
    assert (found.value, found.samples) == (2, [{"judged": {"Car": 300, "Van": 20}, "left_out": {"Tram": 4}}])


def test_undetermined_sparsification_is_left_out_and_counted(tmp_path: Path) -> None:
    figures = full(tmp_path, determined=False)
    assert "sparsification_centre" not in figures
    assert "sparsification_class" in figures
    assert figures["determined_main_ensemble_mc_dropout_centre"].value == 0
    assert not [name for name in figures if name.startswith("sparsification_main_softmax_centre")]


def test_an_incomplete_run_gives_what_there_is(tmp_path: Path) -> None:
    settings = make_settings({"main": replay({RANDOM: 2, "default": 1, "mc_mi": 1})})
    folder = write(tmp_path, settings, EFFICIENCIES, stopped={"default": 2}, skip=("mc_mi",))
    figures = by_name(experiment_figures(folder))
    assert "hours" not in figures
    assert len(figures["curve_main_default_macro_recall"].samples) == 2
    assert "curve_main_mc_mi_macro_recall" not in figures
    assert not [name for name in figures if name.startswith("saved_")]
    assert figures["complete_main"].samples == [{"random": [2, 2, 2], "default": [0, 1, 1], "mc_mi": [0, 0, 1]}]


def test_nothing_run_yet_has_no_headline(tmp_path: Path) -> None:
    settings = make_settings({"main": replay({RANDOM: 1, "default": 1}, judge=True)}, held_out=HELD_OUT | {"seeds": 1})
    folder = write(tmp_path, settings, {}, skip=(RANDOM, "default"))
    assert not [figure for figure in experiment_figures(folder) if figure.reach]


def test_one_seed_has_savings_but_no_headline_of_an_interval(tmp_path: Path) -> None:
    settings = make_settings({"main": replay({RANDOM: 1, "default": 1}, **LONG)})
    figures = by_name(experiment_figures(write(tmp_path, settings, EFFICIENCIES)))
    assert figures["saved_main_default_macro_recall_98"].value == pytest.approx(2 / 3, rel=1e-4)
    assert "saved_macro_recall_98_low" not in figures
    assert "worst_active_saving_high" not in figures
    assert figures["curve_main_default_macro_recall"].samples[0][2:4] == [None, None]


def test_the_best_is_the_surest_method_of_those_on_all_seeds(tmp_path: Path) -> None:
    settings = make_settings({"main": replay({RANDOM: 3, "default": 2, "mc_mi": 3, "box": 3}, **LONG)})
    figures = by_name(experiment_figures(write(tmp_path / "complete", settings, EFFICIENCIES)))
    assert figures["saved_macro_recall_98_low"].samples[0]["method"] == "mc_mi"
    without = write(tmp_path / "without", settings, EFFICIENCIES, skip=("mc_mi",))
    assert "saved_macro_recall_98_low" not in by_name(experiment_figures(without))


def test_the_quick_experiment_tells_the_sign(tmp_path: Path) -> None:
    settings = make_settings({"quick": replay({RANDOM: 2, "default": 2})})
    stopped = write(tmp_path / "stopped", settings, {"default": 2.0}, stopped={"default": 3})
    assert "quick_lead" not in by_name(experiment_figures(stopped))
    figures = by_name(experiment_figures(write(tmp_path / "complete", settings, {"default": 2.0})))
    expected = 0.6 * sum(BUDGETS[1:]) / (len(BUDGETS) - 1) / 8000
    assert figures["quick_lead"].value == pytest.approx(expected, rel=1e-4)
    assert figures["quick_lead"].met


def test_the_interval_is_that_of_student() -> None:
    import numpy as np

    # n = 2: mean 1, standard error 1, t = 12.706
    mean, low, high = mean_interval(np.array([0.0, 2.0]))
    assert (mean, low, high) == pytest.approx((1.0, 1 - 12.706, 1 + 12.706), rel=1e-4)


def test_numbers_are_short_and_what_is_not_finite_is_refused() -> None:
    assert rounded({"a": [1 / 3, 2, True, None, "x"]}) == {"a": [0.33333, 2, True, None, "x"]}
    with pytest.raises(ValueError, match="finite"):
        rounded([float("nan")])
