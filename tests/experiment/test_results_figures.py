import json
import math
from pathlib import Path
from typing import Any

import pytest
from experiment.made_up import BUDGETS, all_methods, make_settings, replay, write

from quandary_server.bench.figures import Figure, write_document
from quandary_server.experiment.methods import RANDOM
from quandary_server.experiment.results.curves import mean_interval
from quandary_server.experiment.results.figures import experiment_figures, rounded
from quandary_server.experiment.results.headlines import HEADLINES

LONG: dict[str, Any] = {"budgets": [*BUDGETS, 6000], "stop_at": 6000}
EFFICIENCIES = {"default": 3.0, "mc_mi": 2.0, "box": 1.5, "mi_box": 2.0, "default_folded": 4.0}
HELD_OUT = {"pool": {"source": {"kind": "fleet", "fleet": {}}}, "classes": ["Tram"], "seeds": 2}


def by_name(figures: list[Figure]) -> dict[str, Figure]:
    found = {figure.name: figure for figure in figures}
    assert len(found) == len(figures), "names must differ"
    return found


def full(root: Path, **changes: Any) -> dict[str, Figure]:
    replays = {
        "main": replay(all_methods(2), judge=True, **LONG),
        "repeats": replay({RANDOM: 2, "mi_box": 2, "default_folded": 2}, **LONG),
    }
    settings = make_settings(replays, held_out=HELD_OUT)
    return by_name(experiment_figures(write(root, settings, EFFICIENCIES, **changes)))


def test_the_headlines_have_their_values_and_bars(tmp_path: Path) -> None:
    figures = full(tmp_path)
    assert {h.name for h in HEADLINES} - set(figures) == {"quick_lead"}
    recall = figures["saved_macro_recall_98_low"]
    assert recall.value == pytest.approx(2 / 3, rel=1e-4)
    assert (recall.reach, recall.met) == (">= 0.6", True)
    assert recall.samples[0]["method"] == "default"
    assert figures["saved_centre_98_low"].met
    assert figures["saved_by_folding"].value == pytest.approx(0.5, rel=1e-4)
    assert figures["saved_by_folding"].samples[0]["against"] == "mi_box"
    assert figures["sparsification_centre"].value == pytest.approx(1.0)
    assert figures["ece"].value == pytest.approx(0.02)
    assert (figures["ece"].reach, figures["ece"].met) == ("<= 0.03", True)
    assert figures["hours"].value == 2.0
    # methods as good as random reach nothing before they stop, and that counts as nothing saved
    assert figures["worst_active_saving_high"].value == 0.0
    assert figures["worst_active_saving_high"].met


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
    assert sum(figures["classes_main_default"].samples[0]["shares"].values()) == pytest.approx(1, rel=1e-3)
    assert figures["classes_main_default"].value > figures["classes_main_random"].value
    assert figures["calibration_main_softmax_raw"].value == pytest.approx(0.08)
    assert figures["sparsification_main_mc_dropout_centre_total"].samples[0]["ause"] == pytest.approx(0)
    assert len(figures["sparsification_curve_main_softmax_class_predictive_entropy"].samples) == 25
    assert figures["reliability_main_softmax_raw"].samples == [[0.5, 0.42, 200], [0.9, 0.82, 600]]
    assert figures["auroc_ensemble_mc_dropout_mutual_information"].value == pytest.approx(0.8)
    assert figures["round_seconds_main_random"].samples[0] == [100, 300, 10, 9]
    assert figures["complete_main"].samples[0]["default"] == [2, 2, 2]
    assert figures["experiment"].samples[0]["replays"]["main"]["title"] == "made up"


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


def test_without_the_packaged_query_the_surest_method_is_the_best(tmp_path: Path) -> None:
    settings = make_settings({"main": replay({RANDOM: 2, "mc_mi": 2, "box": 2}, **LONG)})
    figures = by_name(experiment_figures(write(tmp_path, settings, EFFICIENCIES)))
    assert figures["saved_macro_recall_98_low"].samples[0]["method"] == "mc_mi"


def test_the_quick_experiment_tells_the_sign(tmp_path: Path) -> None:
    settings = make_settings({"quick": replay({RANDOM: 2, "default": 2})})
    figures = by_name(experiment_figures(write(tmp_path, settings, {"default": 2.0})))
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
