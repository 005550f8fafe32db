"""Queues and quotas in the settings: what they mean, and how they are refused."""

import json
import re
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from quandary.errors import InvalidArgument
from quandary_server.selection.plan import Strategy
from quandary_server.selection.quotas import ClassQuota, DriveQuota, TagQuota
from quandary_server.settings import Settings, load_settings

RUNBOOK = Path(__file__).parents[2] / "deploy" / "README.md"
NIGHT = {"name": "night", "drives": ["n-*"]}


def test_a_queue_is_asked_as_its_own_settings_say_and_else_as_the_others_are() -> None:
    queues = [{**NIGHT, "query": {"budget": "PT8H", "strategy": "power", "chance": 0.5}}]
    selector = load_settings(selector={"query": {"picked": 7, "chance": 0.0}, "queues": queues}).selector
    night = selector.query_of("night")
    assert (night.picked, night.budget, night.strategy, night.chance) == (7, timedelta(hours=8), Strategy.POWER, 0.5)
    assert selector.query_of("active") == selector.query_of("dropped") == selector.query


def test_queues_come_from_the_environment_and_reach_another_process_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    queues = [{**NIGHT, "tags": {"light": "night"}, "query": {"picked": 3, "quotas": [{"by": "drive", "most": 0.5}]}}]
    monkeypatch.setenv("QUANDARY_SELECTOR__QUEUES", json.dumps(queues))
    monkeypatch.setenv("QUANDARY_SELECTOR__QUERY__CHANCE", "0.25")
    first = load_settings()
    monkeypatch.delenv("QUANDARY_SELECTOR__QUEUES")
    monkeypatch.delenv("QUANDARY_SELECTOR__QUERY__CHANCE")
    for name, value in first.environment().items():
        monkeypatch.setenv(name, value)
    second = Settings()
    assert second.selector.queues == first.selector.queues
    assert second.selector.query_of("night") == first.selector.query_of("night")
    assert (second.selector.query_of("night").picked, second.selector.query_of("night").chance) == (3, 0.25)
    assert second.selector.query_of("night").plan.quotas == (DriveQuota(most=0.5),)


def test_embeddings_are_asked_for_where_any_queue_needs_them() -> None:
    plain: dict[str, Any] = {"query": {"strategy": "top_k"}}
    assert not load_settings(selector={**plain, "queues": [NIGHT]}).selector.scoring_options().include_embedding
    covering = {**NIGHT, "query": {"strategy": "cover"}}
    assert load_settings(selector={**plain, "queues": [covering]}).selector.scoring_options().include_embedding


def test_quotas_are_those_of_the_plan() -> None:
    quotas = [
        {"by": "class", "value": "Van", "least": 0.1},
        {"by": "class", "most": 0.75},
        {"by": "drive", "value": "berlin-*", "least": 0.2, "most": 0.5},
        {"by": "tag", "key": "weather", "value": "rain", "least": 0.25},
        {"by": "tag", "key": "city", "most": 0.5},
    ]
    plan = load_settings(selector={"query": {"quotas": quotas}}).selector.query.plan
    assert plan.quotas == (
        ClassQuota(0.1, 1.0, 1),
        ClassQuota(0.0, 0.75),
        DriveQuota(0.2, 0.5, "berlin-*"),
        TagQuota(0.25, 1.0, "weather", "rain"),
        TagQuota(0.0, 0.5, "city"),
    )
    assert plan.tag_keys == ("city", "weather")


@pytest.mark.parametrize(
    ("queues", "said"),
    [
        ([{**NIGHT, "name": "a b"}], "queues.0.name is 'a b', must be 1 to 128 characters of [A-Za-z0-9._-]"),
        ([{**NIGHT, "name": "control"}], "queues.0.name is control, must be another than active and control"),
        ([NIGHT, NIGHT], "queues.1.name is night, must be another than that of queue 0"),
        ([{"name": "night"}], "queues.0.tags is unset, must be set, or drives"),
        ([{**NIGHT, "tags": {"light": "x" * 65}}], "queues.0.tags.light is xxx"),
        ([{**NIGHT, "drive": "n-*"}], "queues.0.drive is no setting, must be one of name, tags, drives, query"),
        ([{**NIGHT, "query": {"picks": 3}}], "queues.0.query.picks is no setting, must be one of strategy, shortlist"),
        ([{**NIGHT, "query": {"picked": 0}}], "queues.0.query.picked is 0, must be greater than or equal to 1"),
    ],
)
def test_a_queue_that_cannot_be_is_refused_with_field_value_and_bound(queues: list[object], said: str) -> None:
    with pytest.raises(InvalidArgument) as refused:
        load_settings(selector={"queues": queues})
    assert refused.value.message.startswith(f"selector.{said}")


@pytest.mark.parametrize(
    ("quotas", "said"),
    [
        ([{"by": "weekday"}], "0.by is weekday, must be 'class', 'drive' or 'tag'"),
        ([{"by": "class", "value": "Bus", "most": 0.5}], "0.value is Bus, must be one of Car, Van"),
        ([{"by": "class", "value": "Background", "most": 0.5}], "0.value is Background, must be one of Car, Van"),
        ([{"by": "drive", "value": "a", "least": 0.6, "most": 0.5}], "0.least is 0.6, must be at most `most`, 0.5"),
        ([{"by": "drive", "most": 1.5}], "0.most is 1.5, must be less than or equal to 1"),
        ([{"by": "drive", "most": 1}], "0.most is 1, must be below 1, or `least` above 0"),
        ([{"by": "drive", "least": 0.5}], "0.least is 0.5, must be 0 where no value is set"),
        ([{"by": "tag", "most": 0.5}], "0.key is '', must be the key of a tag"),
        ([{"by": "drive", "key": "city", "most": 0.5}], "0.key is 'city', must be unset for a quota by drive"),
        ([{"by": "drive", "most": 0.5}, {"by": "drive", "most": 0.4}], "1 is drive, must be another than quota 0"),
        (
            [{"by": "tag", "key": "city", "value": value, "least": 0.4} for value in "abc"],
            "2.least is 0.4, must be at most 0.2: by tag city 1 is due in all at most",
        ),
    ],
)
def test_a_quota_that_cannot_be_is_refused_with_field_value_and_bound(quotas: list[object], said: str) -> None:
    with pytest.raises(InvalidArgument) as refused:
        load_settings(selector={"query": {"quotas": quotas}})
    assert refused.value.message.startswith(f"selector.query.quotas.{said}")


def test_what_is_due_may_be_all_there_is_in_each_kind() -> None:
    tags = [{"by": "tag", "key": "city", "value": value, "least": 0.1} for value in "abcdefghij"]
    quotas = [*tags, {"by": "drive", "value": "a", "least": 1.0}, {"by": "tag", "key": "light", "value": "day", "least": 1.0}]
    assert len(load_settings(selector={"query": {"quotas": quotas}}).selector.query.quotas) == 12


def test_the_runbooks_examples_are_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    examples = re.findall(r"```toml\n(.*?)```", RUNBOOK.read_text(), re.DOTALL)
    (tmp_path / "quandary.toml").write_text("\n".join(example for example in examples if "[[selector." in example))
    monkeypatch.setenv("QUANDARY_CONFIG", str(tmp_path / "quandary.toml"))
    selector = load_settings().selector
    assert selector.query.plan.quotas == (TagQuota(0.2, 1.0, "weather", "rain"), DriveQuota(0.0, 0.1))
    assert selector.queues[0].takes("potsdam-1", {"light": "night"})
    assert selector.query_of("night").budget == timedelta(hours=4)
