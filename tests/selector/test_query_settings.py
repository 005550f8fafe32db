"""The settings of the query as the plan it follows."""

from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest

from quandary.errors import InvalidArgument
from quandary.labels import CLASSES
from quandary_server.selection.cost import LabellingCost
from quandary_server.selection.plan import QueryPlan, Strategy
from quandary_server.settings import DEFAULT_PLAN, QuerySettings, SelectorSettings, load_settings


def test_the_settings_say_what_the_query_does() -> None:
    assert QuerySettings().plan == DEFAULT_PLAN
    query = QuerySettings(
        strategy=Strategy.DIVERSE,
        shortlist=4,
        class_floor=0.5,
        gap=timedelta(seconds=2),
        max_distance=0.25,
        power=2,
        chance=0.25,
        frame_time=timedelta(seconds=5),
        box_time=timedelta(minutes=1),
        gap_m=3.0,
        fold=False,
        reach=0.25,
        class_times={"Car": timedelta(seconds=30), "Background": timedelta(seconds=5)},
        sparse_points=20,
        sparse_factor=1.5,
    )
    assert query.plan == QueryPlan(Strategy.DIVERSE, 4.0, 0.5, 2.0, 0.25, 2.0, 0.25, gap_m=3.0, reach=0.25, fold=False)
    times = tuple({"Car": 30.0, "Background": 5.0}.get(name, 60.0) for name in CLASSES)
    assert query.labelling_cost == LabellingCost(5.0, 60.0, times, 20, 1.5)


def test_embeddings_are_asked_of_scoring_only_where_the_plan_needs_them() -> None:
    spread = QuerySettings(strategy=Strategy.K_CENTRE)
    assert SelectorSettings(query=spread).scoring_options().include_embedding
    assert SelectorSettings().scoring_options().include_embedding
    plain = QuerySettings(strategy=Strategy.TOP_K, max_distance=None)
    assert not SelectorSettings(query=plain).scoring_options().include_embedding


@pytest.mark.parametrize("name", [strategy.value for strategy in Strategy])
def test_every_strategy_is_reached_by_its_name(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QUANDARY_SELECTOR__QUERY__STRATEGY", name)
    assert load_settings().selector.query.plan.strategy is Strategy(name)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("strategy", "best"),
        ("shortlist", 0.5),
        ("shortlist", np.inf),
        ("shortlist", 20_000),
        ("picked", 0),
        ("picked", 10**30),
        ("refill_below", 0),
        ("class_floor", 1.5),
        ("max_distance", 3.0),
        ("power", -1.0),
        ("power", np.nan),
        ("power", 1e4),
        ("chance", 1.5),
        ("budget", timedelta(seconds=-1)),
        ("box_time", timedelta(seconds=-1)),
        ("sparse_points", -1),
        ("sparse_factor", 0.5),
        ("reach", 0.0),
        ("gap_m", -1.0),
    ],
)
def test_what_is_out_of_bounds_is_named(field: str, value: object) -> None:
    with pytest.raises(InvalidArgument, match=rf"selector\.query\.{field} is {value}"):
        load_settings(selector={"query": {field: value}})


@pytest.mark.parametrize(
    ("times", "problem"),
    [
        ({"Bus": timedelta(seconds=9)}, r"Bus is 0:00:09, must be the time of a class: Car, Van"),
        ({"Car": timedelta(seconds=-9)}, "Car is -1 day, 23:59:51, must be >= 0"),
    ],
)
def test_class_times_are_held_to_the_classes(times: dict[str, timedelta], problem: str) -> None:
    with pytest.raises(InvalidArgument, match=rf"selector\.query\.class_times\.{problem}"):
        load_settings(selector={"query": {"class_times": times}})


@pytest.mark.parametrize("field", ["gap_m", "max_distance", "budget"])
def test_what_may_be_unset_is_so_by_a_word_in_file_and_environment(
    field: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "quandary.toml").write_text(f'[selector.query]\n{field} = "none"\n')
    with monkeypatch.context() as patch:
        patch.setenv("QUANDARY_CONFIG", str(tmp_path / "quandary.toml"))
        assert getattr(load_settings().selector.query, field) is None
    monkeypatch.setenv(f"QUANDARY_SELECTOR__QUERY__{field.upper()}", "none")
    assert getattr(load_settings().selector.query, field) is None


def test_what_is_no_duration_is_told_how_one_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QUANDARY_SELECTOR__QUERY__BUDGET", "8h")
    with pytest.raises(InvalidArgument, match=r"selector\.query\.budget is 8h, must be a duration: PT8H, PT1M30S"):
        load_settings()
