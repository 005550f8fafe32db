from pathlib import Path

import pyarrow.parquet as pq
import pytest
from experiment.made_up import BUDGETS, POOL, make_settings, replay, write

from quandary_server.experiment.methods import RANDOM
from quandary_server.experiment.results.tables import tables, write_tables

HELD_OUT = {"pool": {"source": {"kind": "fleet", "fleet": {}}}, "classes": ["Tram", "Cyclist"], "seeds": 2}


def test_every_round_and_estimator_has_a_row(tmp_path: Path) -> None:
    settings = make_settings({"main": replay({RANDOM: 2, "softmax_entropy": 1}, judge=True)}, held_out=HELD_OUT)
    folder = write(tmp_path, settings, {"softmax_entropy": 2.0})
    write_tables(folder, tmp_path / "results")
    rounds = pq.read_table(tmp_path / "results" / "rounds.parquet")
    # 2 seeds x 7 rounds x 2 estimators, and 6 rounds of the method's own
    assert rounds.num_rows == 2 * 7 * 2 + 6
    first = rounds.to_pylist()[0]
    assert first["labels"] == 100
    assert first["euros"] == pytest.approx(100 * 36 / 3600 * 20)
    assert first["labels_Car"] + first["labels_Background"] > 0
    assert first["mean_centre_error"] == pytest.approx(2.0 - 100 / 8000)
    assert {row["estimator"] for row in rounds.to_pylist() if row["method"] == "softmax_entropy"} == {"softmax"}


def test_what_was_judged_has_a_row_each(tmp_path: Path) -> None:
    settings = make_settings({"main": replay({RANDOM: 2}, judge=True)}, held_out=HELD_OUT)
    found = tables(write(tmp_path, settings, {}))
    # two seeds, each judged where asking stops and on the whole pool, by four estimators
    assert found["uncertainty"].num_rows == 2 * 2 * 4 * 4 * 2
    assert found["calibration"].num_rows == 2 * 2 * 4 * 2
    assert found["coverage"].num_rows == 2 * 2 * 4 * 2 * 2 * 2
    assert found["held_out"].num_rows == 4 * 5
    assert set(found["calibration"]["stage"].to_pylist()) == {"raw", "calibrated"}
    assert set(found["coverage"]["level"].to_pylist()) == {0.5, 0.95}


def test_what_methods_taught_is_judged_by_their_own_estimator_where_asking_stops(tmp_path: Path) -> None:
    settings = make_settings({"main": replay({RANDOM: 1, "softmax_entropy": 1}, judge=True)})
    rows = tables(write(tmp_path, settings, {}))["calibration"].to_pylist()
    judged = {(row["method"], row["labels"], row["estimator"]) for row in rows}
    estimators = ("softmax", "mc_dropout", "deep_ensemble", "ensemble_mc_dropout")
    random = {(RANDOM, labels, estimator) for labels in (BUDGETS[-1], POOL) for estimator in estimators}
    assert judged == {("softmax_entropy", BUDGETS[-1], "softmax"), *random}


def test_an_undetermined_kind_has_a_row_without_numbers(tmp_path: Path) -> None:
    found = tables(write(tmp_path, make_settings({"main": replay({RANDOM: 1}, judge=True)}), {}, determined=False))
    rows = [row for row in found["uncertainty"].to_pylist() if row["kind"] == "centre"]
    assert len(rows) == 2 * 4
    assert all(row["uncertainty"] is None and row["gain"] is None for row in rows)


def test_an_experiment_that_was_not_begun_has_empty_tables_with_their_columns(tmp_path: Path) -> None:
    settings = make_settings({"main": replay({RANDOM: 1})})
    folder = write(tmp_path, settings, {}, skip=(RANDOM,))
    write_tables(folder, tmp_path / "results")
    rounds = pq.read_table(tmp_path / "results" / "rounds.parquet")
    assert rounds.num_rows == 0
    assert {"replay", "labels", "macro_recall", "labels_Tram", "mean_iou"} <= set(rounds.column_names)
    assert not list((tmp_path / "results").glob(".*"))
