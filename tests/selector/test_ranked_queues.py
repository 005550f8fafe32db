"""Queues of the settings beside `active`: each is scored, ranked, folded and leased for itself."""

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.records import START, log_record, record_of
from support.scoring import ScoringService
from support.tally import CountingTally

from quandary import AsyncScoringClient
from quandary_server.selector.assignment import Assignment
from quandary_server.selector.consumer import Consumer
from quandary_server.selector.frame_scores import FrameScorer
from quandary_server.selector.pace import Pace
from quandary_server.selector.ranked_queues import RankedQueues
from quandary_server.settings import SelectorSettings, load_settings
from quandary_server.storage.fleet_log import SqliteFleetLog
from quandary_server.storage.store import Store

PACE = Pace(batch=4, in_flight=2, poll=timedelta(milliseconds=10))
NOW = START + timedelta(hours=1)
QUERY: Mapping[str, object] = {"strategy": "top_k", "gap": "PT1.5S", "picked": 4, "refill_below": 1, "chance": 0.0}
NIGHT: Mapping[str, object] = {"name": "night", "tags": {"light": "night"}, "query": {"picked": 1}}
HOLD = timedelta(hours=1)


def selector_settings(*queues: Mapping[str, object], **more: object) -> SelectorSettings:
    return load_settings(
        selector={"query": QUERY, "queues": queues, "control_share": 0.0, "control_drives": ("kept",), **more}
    ).selector


def settle(settings: SelectorSettings, scoring: ScoringService, fleet_log: SqliteFleetLog, store: Store) -> RankedQueues:
    """Consume and rank until there is nothing left to do."""

    async def go() -> RankedQueues:
        async with AsyncScoringClient(scoring.target, token=scoring.token) as client:
            scorer = FrameScorer(client, settings.scoring_options(), lambda: None, lambda _: None)
            assignment = Assignment(settings.control_share, frozenset(settings.control_drives), 0, settings.queues)
            consumer = Consumer(fleet_log, store, scorer, assignment, lambda: NOW, CountingTally(), PACE)
            while await consumer.step():
                pass
            ranked = RankedQueues.of(settings, store, scorer, lambda: NOW, lambda _, __: None, PACE)
            while await ranked.step():
                pass
            return ranked

    return asyncio.run(go())


@pytest.fixture
def fill(fleet_log: SqliteFleetLog, make_frame: Callable[..., Any], tmp_path: Path) -> None:
    """Eight frames of a drive, a second apart, every other at night, and two of a control drive at night."""
    for i in range(10):
        drive = "drive" if i < 8 else "kept"
        record = record_of(make_frame(f"f{i}", seed=i), tmp_path / "clouds", drive, at_s=i)
        tags = {"light": "night"} if i % 2 or drive == "kept" else {"light": "day"}
        fleet_log.append([log_record(replace(record, tags=tags))], now=NOW)


def ranks(store: Store, queue: str) -> dict[str, int | None]:
    return {task.frame_id: task.place.rank for task in store.tasks.list(queue, page_size=50, now=NOW).items}


@pytest.mark.usefixtures("fill")
def test_every_queue_is_scored_ranked_folded_and_leased_for_itself(
    scoring: ScoringService, fleet_log: SqliteFleetLog, store: Store
) -> None:
    generation = scoring.register()
    scoring.promote(generation)
    ranked = settle(selector_settings(NIGHT), scoring, fleet_log, store)
    assert set(ranks(store, "active")) == {"f0", "f2", "f4", "f6"}
    assert set(ranks(store, "night")) == {"f1", "f3", "f5", "f7"}
    assert ranks(store, "control") == {"f8": None, "f9": None}
    # as far as their gap lets them, as many as each one's settings say; frames of one queue are 2 s apart
    assert sorted(rank for rank in ranks(store, "active").values() if rank is not None) == [0, 1, 2, 3]
    assert [rank for rank in ranks(store, "night").values() if rank is not None] == [0]
    for queue in ("active", "night"):
        assert store.ranking.ranked_generation(queue) == ranked.generation() == generation
        stats = store.tasks.stats(queue, generation=generation, now=NOW)
        assert (stats.behind, stats.unscored, stats.folded) == (0, 0, 0)
    assert store.ranking.ranked_generation("control") == ""

    (first,) = store.leases.lease("night", holder="ada", max_tasks=1, duration=HOLD, now=NOW)
    assert first.place.rank == 0
    second = scoring.register(temperature=3.0)
    scoring.promote(second)
    settle(selector_settings(NIGHT), scoring, fleet_log, store)
    for queue in ("active", "night"):
        assert store.tasks.stats(queue, generation=second, now=NOW).behind == 0
    assert store.tasks.get("night", first.frame_id, now=NOW).generation == generation


@pytest.mark.usefixtures("fill")
def test_a_queue_that_left_the_settings_keeps_its_tasks_and_is_ranked_as_active_is(
    scoring: ScoringService, fleet_log: SqliteFleetLog, store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    settle(selector_settings(NIGHT), scoring, fleet_log, store)
    assert store.tasks.stats("night", generation="", now=NOW).unscored == 4
    generation = scoring.register()
    scoring.promote(generation)
    with caplog.at_level(logging.WARNING):
        settle(selector_settings({**NIGHT, "name": "dark"}), scoring, fleet_log, store)
    assert "queue_not_in_settings queue=night waiting=4" in caplog.text
    assert store.tasks.queues() == ("active", "control", "dark", "night")
    assert sorted(rank for rank in ranks(store, "night").values() if rank is not None) == [0, 1, 2, 3]
    assert len(store.leases.lease("night", holder="ada", max_tasks=9, duration=HOLD, now=NOW)) == 4
    assert store.leases.lease("dark", holder="ada", max_tasks=9, duration=HOLD, now=NOW) == ()


@pytest.mark.usefixtures("fill")
def test_quotas_hold_in_what_is_leased_next_and_count_what_was_leased_since(
    scoring: ScoringService, fleet_log: SqliteFleetLog, store: Store
) -> None:
    scoring.promote(scoring.register())
    quotas = [{"by": "tag", "key": "light", "value": "night", "most": 0.25}]
    settings = selector_settings(query={**QUERY, "gap": "PT0S", "picked": 4, "refill_below": 4, "quotas": quotas})
    settle(settings, scoring, fleet_log, store)
    leased: list[str] = []
    for count in range(1, 6):
        leased += [task.frame_id for task in store.leases.lease("active", holder="a", max_tasks=1, duration=HOLD, now=NOW)]
        assert len({"f1", "f3", "f5", "f7"}.intersection(leased)) <= np.ceil(count / 4)
        settle(settings, scoring, fleet_log, store)
