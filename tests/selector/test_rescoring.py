"""A new generation scores what waits, and the query ranks it."""

import asyncio
from collections.abc import Callable
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from support.records import START, log_record, record_of
from support.scoring import ScoringService

from quandary import AsyncScoringClient, ScoringOptions
from quandary_server.selector.assignment import Assignment
from quandary_server.selector.consumer import Consumer
from quandary_server.selector.frame_scores import FrameScorer
from quandary_server.selector.pace import Pace
from quandary_server.selector.rescoring import Rescorer
from quandary_server.settings import QuerySettings
from quandary_server.storage.fleet_log import SqliteFleetLog
from quandary_server.storage.store import Store

PACE = Pace(batch=3, in_flight=2, poll=timedelta(milliseconds=10))
NOW = START + timedelta(hours=1)
QUERY = QuerySettings(gap=timedelta(seconds=2), picked=3, refill_below=2)
FRAMES = 8


class Selector:
    """Consumer and rescorer over real parts; the rescorer lives through `settle` calls."""

    def __init__(self, scoring: ScoringService, fleet_log: SqliteFleetLog, store: Store) -> None:
        self._scoring, self._log, self._store = scoring, fleet_log, store
        self.rescored = 0
        self.generation = self.ranked_generation = ""

    def settle(self) -> None:
        async def go() -> None:
            async with AsyncScoringClient(self._scoring.target, token=self._scoring.token) as client:
                scorer = FrameScorer(client, ScoringOptions(), lambda: None, lambda _: None)
                assignment = Assignment(0.0, frozenset(), seed=0)
                consumer = Consumer(self._log, self._store, scorer, assignment, lambda: NOW, lambda *_: None, PACE)
                while await consumer.step():
                    pass
                rescorer = Rescorer(self._store, scorer, QUERY, lambda: NOW, self._count, PACE)
                rescorer.ranked_generation = self.ranked_generation
                while await rescorer.step():
                    pass
                self.generation, self.ranked_generation = rescorer.generation, rescorer.ranked_generation

        asyncio.run(go())

    def _count(self, count: int) -> None:
        self.rescored += count


@pytest.fixture
def selector(
    scoring: ScoringService, fleet_log: SqliteFleetLog, store: Store, make_frame: Callable[..., Any], tmp_path: Path
) -> Selector:
    frames = [make_frame(f"f{i}", seed=i) for i in range(FRAMES)]
    found = [record_of(frame, tmp_path / "clouds", at_s=i) for i, frame in enumerate(frames)]
    fleet_log.append([log_record(record) for record in found], now=NOW)
    return Selector(scoring, fleet_log, store)


def tasks_of(store: Store) -> dict[str, Any]:
    return {task.frame_id: task for task in store.tasks.list("active", page_size=500, now=NOW).items}


def test_without_a_generation_there_is_nothing_to_do(selector: Selector, store: Store) -> None:
    selector.settle()
    assert (selector.generation, selector.rescored) == ("", 0)
    assert all(task.place.rank is None for task in tasks_of(store).values())


def test_the_first_generation_scores_all_that_waits_and_the_query_ranks_the_best_apart(
    scoring: ScoringService, selector: Selector, store: Store
) -> None:
    selector.settle()
    generation = scoring.register()
    scoring.promote(generation)
    selector.settle()
    tasks = tasks_of(store)
    assert {task.generation for task in tasks.values()} == {generation}
    assert selector.rescored == FRAMES
    assert selector.ranked_generation == generation
    ranked = sorted((t for t in tasks.values() if t.place.rank is not None), key=lambda t: t.place.rank)
    assert [task.place.rank for task in ranked] == [0, 1, 2]
    best = max(tasks.values(), key=lambda task: task.place.score)
    assert ranked[0].frame_id == best.frame_id
    stamps = sorted(task.stamp for task in ranked)
    assert all(later - earlier >= QUERY.gap for earlier, later in pairwise(stamps))


def test_the_next_generation_scores_again_and_a_leased_task_keeps_what_it_had(
    scoring: ScoringService, selector: Selector, store: Store
) -> None:
    first = scoring.register()
    scoring.promote(first)
    selector.settle()
    (leased,) = store.leases.lease("active", holder="lena", max_tasks=1, duration=timedelta(hours=1), now=NOW)
    second = scoring.register(temperature=3.0)
    scoring.promote(second)
    selector.settle()
    tasks = tasks_of(store)
    mine = tasks.pop(leased.frame_id)
    assert (mine.generation, mine.place) == (first, leased.place)
    assert {task.generation for task in tasks.values()} == {second}
    assert store.tasks.stats("active", generation=second, now=NOW).behind == 0


def test_a_rollback_is_followed_too(scoring: ScoringService, selector: Selector, store: Store) -> None:
    first, second = scoring.register(), scoring.register(temperature=3.0)
    scoring.promote(first)
    selector.settle()
    before = {name: task.place.score for name, task in tasks_of(store).items()}
    scoring.promote(second)
    selector.settle()
    pointer = scoring.registry.pointer()
    assert pointer is not None
    scoring.registry.roll_back(pointer, NOW, "test")
    scoring.wait_for(first)
    selector.settle()
    assert {name: task.place.score for name, task in tasks_of(store).items()} == before


def test_the_query_runs_again_when_few_ranked_tasks_are_left_and_keeps_its_distance(
    scoring: ScoringService, selector: Selector, store: Store
) -> None:
    scoring.promote(scoring.register())
    selector.settle()
    leased = store.leases.lease("active", holder="lena", max_tasks=2, duration=timedelta(hours=1), now=NOW)
    selector.settle()
    ranked = [task for task in tasks_of(store).values() if task.place.rank is not None and task.state.value == "waiting"]
    assert len(ranked) == 3
    near = [
        (a.frame_id, b.frame_id) for a in ranked for b in leased if a.place.rank == 0 and abs(a.stamp - b.stamp) < QUERY.gap
    ]
    assert near == []


def test_a_task_whose_cloud_is_gone_keeps_its_score_and_holds_nothing_up(
    scoring: ScoringService, selector: Selector, store: Store, tmp_path: Path
) -> None:
    first, second = scoring.register(), scoring.register(temperature=3.0)
    scoring.promote(first)
    selector.settle()
    (tmp_path / "clouds" / "f3.bin").unlink()
    scoring.promote(second)
    selector.settle()
    tasks = tasks_of(store)
    assert tasks.pop("f3").generation == first
    assert {task.generation for task in tasks.values()} == {second}
    assert selector.ranked_generation == second
