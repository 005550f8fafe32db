"""A new generation scores what waits, and the query ranks it."""

import asyncio
from collections.abc import Callable, Collection, Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import combinations, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from support.records import START, log_record, record_of
from support.scoring import ScoringService
from support.tally import CountingTally

from quandary import AsyncScoringClient, Frame, FrameRecord, ScoringOptions, convert, result_score
from quandary.labels import FrameLabels
from quandary.v1 import fleet_log_pb2
from quandary_server.selection.plan import Strategy
from quandary_server.selector.assignment import Assignment
from quandary_server.selector.consumer import Consumer
from quandary_server.selector.frame_scores import FrameScorer, Scored
from quandary_server.selector.pace import Pace
from quandary_server.selector.put_off import FIRST_WAIT
from quandary_server.selector.rescoring import Rescorer
from quandary_server.settings import QuerySettings
from quandary_server.storage.fleet_log import SqliteFleetLog
from quandary_server.storage.store import Store
from quandary_server.storage.task_values import Task

PACE = Pace(batch=3, in_flight=2, poll=timedelta(milliseconds=10))
NOW = START + timedelta(hours=1)
QUERY = QuerySettings(strategy=Strategy.TOP_K, gap=timedelta(seconds=2), picked=3, refill_below=2, chance=0.0)
FRAMES = 8


class Reached:
    """A scorer that can be out of reach: all of it, or for some frames, whose time runs out at once."""

    def __init__(self, scorer: FrameScorer, away: Callable[[], bool], never: Callable[[], Collection[str]]) -> None:
        self._scorer, self._away, self._never = scorer, away, never

    async def score(self, record: FrameRecord) -> Scored | None:
        if record.frame_id in self._never():
            raise TimeoutError
        return await self._scorer.score(record)

    async def generation(self) -> str:
        return "" if self._away() else await self._scorer.generation()


class Selector:
    """Consumer and rescorer over real parts, which live on from one call to the next while query and pace stay the same."""

    def __init__(self, scoring: ScoringService, fleet_log: SqliteFleetLog, store: Store) -> None:
        self._scoring, self._log, self._store = scoring, fleet_log, store
        self.rescored = 0
        self.query, self.pace = QUERY, PACE
        self.away = False
        self.never: Collection[str] = ()
        self.clock: Callable[[], datetime] = lambda: NOW
        self._loop = asyncio.Runner()
        self._client = self._loop.run(self._connect())
        self._rescorer, self._made_for = self._made(), (self.query, self.pace)

    @property
    def generation(self) -> str:
        return self._rescorer.generation

    @property
    def ranked_generation(self) -> str:
        return self._rescorer.ranked_generation

    def settle(self) -> None:
        """Take in and score and rank until there is nothing left to do."""
        while self.step():
            pass

    def step(self) -> bool:
        """Take in what is logged, and score the next batch or rank; return whether there was anything to do."""
        if (self.query, self.pace) != self._made_for:
            self._rescorer, self._made_for = self._made(), (self.query, self.pace)
        return self._loop.run(self._step())

    def restart(self) -> None:
        self._rescorer = self._made()

    def close(self) -> None:
        self._loop.run(self._client.close())
        self._loop.close()

    async def _connect(self) -> AsyncScoringClient:
        return AsyncScoringClient(self._scoring.target, token=self._scoring.token)

    def _made(self) -> Rescorer:
        scorer, rng = Reached(self._scorer(), lambda: self.away, lambda: self.never), np.random.default_rng(0)
        return Rescorer(self._store, scorer, self.query, lambda: self.clock(), self._count, self.pace, rng)

    def _scorer(self) -> FrameScorer:
        options = ScoringOptions(include_embedding=self.query.plan.needs_embeddings)
        return FrameScorer(self._client, options, lambda: None, lambda _: None)

    async def _step(self) -> bool:
        assignment = Assignment(0.0, frozenset(), seed=0)
        consumer = Consumer(self._log, self._store, self._scorer(), assignment, lambda: NOW, CountingTally(), PACE)
        while await consumer.step():
            pass
        return await self._rescorer.step()

    def _count(self, queue: str, count: int) -> None:
        assert queue == "active"
        self.rescored += count


@pytest.fixture
def selector(
    scoring: ScoringService, fleet_log: SqliteFleetLog, store: Store, make_frame: Callable[..., Any], tmp_path: Path
) -> Iterator[Selector]:
    frames = [make_frame(f"f{i}", seed=i) for i in range(FRAMES)]
    found = [record_of(frame, tmp_path / "clouds", at_s=i) for i, frame in enumerate(frames)]
    fleet_log.append([log_record(record) for record in found], now=NOW)
    selector = Selector(scoring, fleet_log, store)
    yield selector
    selector.close()


def tasks_of(store: Store) -> dict[str, Any]:
    return {task.frame_id: task for task in store.tasks.list("active", page_size=500, now=NOW).items}


def standing(store: Store) -> dict[str, tuple[float | None, bool, str]]:
    """Score, whether it is ranked, and fold of all tasks."""
    return {name: (task.place.score, task.place.rank is not None, task.folded_under) for name, task in tasks_of(store).items()}


def roll_back(scoring: ScoringService, generation: str) -> None:
    """Go back to the generation before, which this is."""
    pointer = scoring.registry.pointer()
    assert pointer is not None
    scoring.registry.roll_back(pointer, NOW, "test")
    scoring.wait_for(generation)


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
    roll_back(scoring, first)
    selector.settle()
    assert {name: task.place.score for name, task in tasks_of(store).items()} == before


def lease(store: Store, count: int = FRAMES) -> list[Task]:
    return list(store.leases.lease("active", holder="lena", max_tasks=count, duration=timedelta(hours=1), now=NOW))


def folds(store: Store) -> dict[str, str]:
    return {name: task.folded_under for name, task in tasks_of(store).items() if task.folded_under}


def test_a_rollback_amid_a_rescoring_folds_again_what_the_other_generation_opened(
    scoring: ScoringService, selector: Selector, store: Store
) -> None:
    first, second = scoring.register(), scoring.register(temperature=3.0)
    scoring.promote(first)
    selector.settle()
    before = standing(store)
    assert folds(store)
    scoring.promote(second)
    while folds(store):
        assert selector.step()
    assert selector.ranked_generation == ""
    roll_back(scoring, first)
    selector.settle()
    assert standing(store) == before
    assert store.ranking.ranked_generation("active") == first


def test_a_second_promotion_amid_a_rescoring_goes_on_with_the_newest(
    scoring: ScoringService, selector: Selector, store: Store
) -> None:
    scoring.promote(scoring.register())
    selector.settle()
    for temperature in (3.0, 2.0):
        newest = scoring.register(temperature=temperature)
        scoring.promote(newest)
        selector.step()
        with_it = {name for name, task in tasks_of(store).items() if task.generation == newest}
        assert with_it == set(sorted(tasks_of(store), key=lambda name: tasks_of(store)[name].place.order())[: PACE.batch])
    selector.settle()
    assert {task.generation for task in tasks_of(store).values()} == {newest}
    assert store.ranking.ranked_generation("active") == newest


def test_labellers_who_take_all_that_is_ranked_amid_a_rescoring_get_no_near_copies(
    scoring: ScoringService, selector: Selector, store: Store
) -> None:
    first = scoring.register()
    scoring.promote(first)
    selector.pace = replace(PACE, batch=1)
    selector.settle()
    scoring.promote(scoring.register(temperature=3.0))
    leased = lease(store, QUERY.picked)
    while selector.step() and store.tasks.stats("active", generation=selector.generation, now=NOW).behind:
        assert store.ranking.ranked_generation("active") == first
        leased += lease(store, 1)
        assert all(abs(a.stamp - b.stamp) >= QUERY.gap for a, b in combinations(leased, 2))
    assert len(leased) >= QUERY.picked
    selector.settle()
    assert store.ranking.ranked_generation("active") == selector.generation


def test_a_cloud_that_was_away_for_a_minute_is_scored_when_it_is_back_and_ranked_then(
    scoring: ScoringService, selector: Selector, store: Store, tmp_path: Path
) -> None:
    first, second = scoring.register(), scoring.register(temperature=3.0)
    scoring.promote(first)
    selector.settle()
    (best, *_) = ranked_of(store)
    cloud, away = tmp_path / "clouds" / f"{best.frame_id}.bin", tmp_path / "away.bin"
    cloud.rename(away)
    scoring.promote(second)
    selector.settle()
    assert tasks_of(store)[best.frame_id].generation == first
    away.rename(cloud)
    selector.settle()
    assert tasks_of(store)[best.frame_id].generation == first

    begun = store.ranking.ranked_generation("active")
    selector.clock = lambda: NOW + FIRST_WAIT
    selector.settle()
    assert {task.generation for task in tasks_of(store).values()} == {second}
    assert begun == store.ranking.ranked_generation("active") == second
    ranked = ranked_of(store)
    assert ranked[0].place.score == max(task.place.score for task in tasks_of(store).values())


def test_while_scoring_is_away_what_was_scored_is_ranked_on(
    scoring: ScoringService, selector: Selector, store: Store, make_frame: Callable[..., Any]
) -> None:
    selector.query = QUERY.model_copy(update={"picked": 1, "refill_below": 1})
    generation = scoring.register()
    scoring.promote(generation)
    selector.settle()
    selector.away = True
    leased: list[Task] = []
    for _ in range(3):
        leased += lease(store, 1)
        selector.settle()
    assert all(abs(a.stamp - b.stamp) >= QUERY.gap for a, b in combinations(leased, 2))
    assert len(ranked_of(store)) <= 1
    assert store.ranking.ranked_generation("active") == generation
    selector.restart()
    lease(store, 1)
    selector.settle()
    assert selector.generation == ""
    stats = store.tasks.stats("active", generation=generation, now=NOW)
    assert stats.waiting == len(ranked_of(store)), "what is not ranked is folded"


def test_who_could_score_nothing_is_not_told_to_be_ranked(
    scoring: ScoringService, selector: Selector, store: Store, tmp_path: Path
) -> None:
    first, second = scoring.register(), scoring.register(temperature=3.0)
    scoring.promote(first)
    selector.settle()
    (tmp_path / "clouds").rename(tmp_path / "away")
    scoring.promote(second)
    selector.settle()
    assert {task.generation for task in tasks_of(store).values()} == {first}
    assert store.ranking.ranked_generation("active") == first
    (tmp_path / "away").rename(tmp_path / "clouds")
    selector.clock = lambda: NOW + FIRST_WAIT
    selector.settle()
    assert store.ranking.ranked_generation("active") == second


def test_a_frame_that_scoring_never_answers_for_holds_up_nobody(
    scoring: ScoringService, selector: Selector, store: Store
) -> None:
    first, second = scoring.register(), scoring.register(temperature=3.0)
    scoring.promote(first)
    selector.settle()
    (best, *_) = ranked_of(store)
    selector.never = {best.frame_id}
    scoring.promote(second)
    selector.settle()
    tasks = tasks_of(store)
    assert tasks.pop(best.frame_id).generation == first
    assert {task.generation for task in tasks.values()} == {second}
    assert store.ranking.ranked_generation("active") == second


def test_the_query_runs_again_when_few_ranked_tasks_are_left_and_keeps_its_distance(
    scoring: ScoringService, selector: Selector, store: Store
) -> None:
    scoring.promote(scoring.register())
    selector.settle()
    leased = store.leases.lease("active", holder="lena", max_tasks=2, duration=timedelta(hours=1), now=NOW)
    selector.settle()
    ranked = [task for task in tasks_of(store).values() if task.place.rank is not None and task.state.value == "waiting"]
    assert ranked
    assert all(abs(a.stamp - b.stamp) >= QUERY.gap for a in ranked for b in leased)


def test_near_copies_are_folded_and_reopen_with_the_next_generation(
    scoring: ScoringService, selector: Selector, store: Store
) -> None:
    selector.query = QUERY.model_copy(update={"picked": FRAMES})
    scoring.promote(scoring.register())
    selector.settle()
    leased = store.leases.lease("active", holder="lena", max_tasks=FRAMES, duration=timedelta(hours=1), now=NOW)
    assert all(abs(a.stamp - b.stamp) >= QUERY.gap for a, b in combinations(leased, 2))
    assert all(abs(tasks_of(store)[name].stamp - task.stamp) < QUERY.gap for task in leased for name in task.siblings)
    siblings = sorted(name for task in leased for name in task.siblings)
    assert sorted([*siblings, *(task.frame_id for task in leased)]) == sorted(tasks_of(store))
    selector.settle()
    assert store.tasks.stats("active", generation=selector.generation, now=NOW).folded == len(siblings)

    for task in leased:
        assert task.status.lease is not None
        labels = FrameLabels(task.frame_id)
        store.leases.acknowledge("active", task.frame_id, task.status.lease.token, labels, subject="lena", now=NOW)
    scoring.promote(scoring.register(temperature=3.0))
    selector.settle()
    ranked = ranked_of(store)
    assert ranked, "what an older generation had labelled holds off nothing that is all there is"
    assert all(task.generation == selector.generation for task in ranked)
    assert all(abs(a.stamp - b.stamp) >= QUERY.gap for a, b in combinations(ranked, 2))


def test_where_all_else_is_labelled_near_copies_are_asked_for(
    scoring: ScoringService, selector: Selector, store: Store
) -> None:
    scoring.promote(scoring.register())
    labelled = 0
    while labelled < FRAMES:
        selector.settle()
        leased = store.leases.lease("active", holder="lena", max_tasks=FRAMES, duration=timedelta(hours=1), now=NOW)
        assert leased
        for task in leased:
            assert task.status.lease is not None
            labels = FrameLabels(task.frame_id)
            store.leases.acknowledge("active", task.frame_id, task.status.lease.token, labels, subject="lena", now=NOW)
        labelled += len(leased)


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


def ranked_of(store: Store) -> list[Any]:
    """The waiting tasks that a query picked, in its order."""
    ranked = [task for task in tasks_of(store).values() if task.place.rank is not None and task.state.value == "waiting"]
    return sorted(ranked, key=lambda task: task.place.rank)


def embeddings_of(scoring: ScoringService, records: dict[str, FrameRecord]) -> dict[str, NDArray[np.float32]]:
    """What the current generation makes of frames: the mean of their objects' unit embeddings, at length 1."""
    found = {}
    with scoring.client() as client:
        for frame_id, record in records.items():
            path = record.cloud_uri.removeprefix("file://")
            points = np.fromfile(path, "<f4").reshape(-1, 4)
            frame = Frame(frame_id, record.calibration, record.proposals, points=points)
            answer = client.score_frames([frame], ScoringOptions(include_embedding=True))
            objects = result_score(answer.results[0]).objects
            rows = np.array([convert.tensor_values(found.embedding) for found in objects])
            mean = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).mean(axis=0)
            found[frame_id] = mean / np.linalg.norm(mean)
    return found


def test_a_core_set_keeps_away_from_what_is_leased_as_the_new_generation_sees_it(
    scoring: ScoringService, selector: Selector, store: Store
) -> None:
    selector.query = QuerySettings(chance=0.0, strategy=Strategy.K_CENTRE, gap=timedelta(), picked=2, refill_below=1)
    scoring.promote(scoring.register())
    selector.settle()
    (leased,) = store.leases.lease("active", holder="lena", max_tasks=1, duration=timedelta(hours=1), now=NOW)
    records = {
        name: convert.record(fleet_log_pb2.FrameRecord.FromString(task.record)) for name, task in tasks_of(store).items()
    }
    scoring.promote(scoring.register(temperature=3.0))
    selector.settle()
    embeddings = embeddings_of(scoring, records)
    held = embeddings.pop(leased.frame_id)
    first, second = ranked_of(store)
    away = {name: np.linalg.norm(row - held) for name, row in embeddings.items()}
    assert first.frame_id == max(away, key=away.__getitem__)
    first_row = embeddings.pop(first.frame_id)
    away = {name: min(away[name], np.linalg.norm(row - first_row)) for name, row in embeddings.items()}
    assert second.frame_id == max(away, key=away.__getitem__)
    mine = tasks_of(store)[leased.frame_id]
    assert (mine.generation, mine.frame_score) == (leased.generation, leased.frame_score)


def test_a_diverse_query_ranks_by_score_and_frames_whose_cloud_is_gone_are_still_labelled(
    scoring: ScoringService, selector: Selector, store: Store, tmp_path: Path
) -> None:
    selector.query = QuerySettings(
        chance=0.0, strategy=Strategy.DIVERSE, shortlist=2, class_floor=0.5, max_distance=0.1, picked=FRAMES
    )
    scoring.promote(scoring.register())
    selector.settle()
    (tmp_path / "clouds" / "f3.bin").unlink()
    scoring.promote(scoring.register(temperature=3.0))
    selector.settle()
    scores = [task.place.score for task in ranked_of(store)]
    assert len(scores) == FRAMES
    assert sum(earlier < later for earlier, later in pairwise(scores)) <= 1  # where those passed over begin


def test_a_query_by_another_plan_has_frames_embedded_that_were_scored_without(
    scoring: ScoringService, selector: Selector, store: Store
) -> None:
    scoring.promote(scoring.register())
    selector.settle()
    scored = len(scoring.calls)
    selector.query = QuerySettings(chance=0.0, strategy=Strategy.K_CENTRE, picked=3, refill_below=2)
    selector.settle()
    assert len([method for method, _ in scoring.calls[scored:] if method.endswith("ScoreFrames")]) == FRAMES
    assert selector.rescored == 0  # none of them for its score
    assert len(ranked_of(store)) == 3


@pytest.mark.parametrize("limit", [{"picked": 1}, *({"budget": timedelta(seconds=seconds)} for seconds in (360, 1, 0))])
def test_a_query_that_its_limit_ends_early_runs_again_only_when_a_task_is_taken(
    scoring: ScoringService, selector: Selector, store: Store, limit: dict[str, Any]
) -> None:
    selector.query = QuerySettings(chance=0.0, gap=timedelta(), refill_below=5, **limit)
    scoring.promote(scoring.register())
    selector.settle()
    (picked,) = ranked_of(store)
    store.leases.lease("active", holder="lena", max_tasks=1, duration=timedelta(hours=1), now=NOW)
    selector.settle()
    (following,) = ranked_of(store)
    assert following.frame_id != picked.frame_id


def test_a_query_whose_picks_are_all_leased_before_they_are_ranked_runs_again(
    scoring: ScoringService, selector: Selector, store: Store
) -> None:
    selector.query = QuerySettings(chance=0.0, gap=timedelta(), picked=1, refill_below=5)
    scoring.promote(scoring.register())
    selector.settle()
    # the clock is read for what is behind, whether a query is due, what it sees, and the ranks: a task is leased at each
    left = iter(range(4))

    def leasing() -> datetime:
        if next(left, None) is not None:
            store.leases.lease("active", holder="lena", max_tasks=1, duration=timedelta(hours=1), now=NOW)
        return NOW

    selector.clock = leasing
    selector.settle()
    assert store.tasks.stats("active", generation=selector.generation, now=NOW).leased == 4
    assert len(ranked_of(store)) == 1


@pytest.mark.parametrize(("budget", "warned"), [(timedelta(seconds=1), True), (timedelta(hours=1), False)])
def test_a_budget_below_a_frame_asks_for_one_and_says_so(
    scoring: ScoringService,
    selector: Selector,
    store: Store,
    caplog: pytest.LogCaptureFixture,
    budget: timedelta,
    warned: bool,
) -> None:
    selector.query = QuerySettings(chance=0.0, gap=timedelta(), budget=budget)
    scoring.promote(scoring.register())
    selector.settle()
    picked = ranked_of(store)
    told = [record.getMessage() for record in caplog.records if record.getMessage().startswith("budget_below_a_frame")]
    assert (len(picked) == 1) == warned
    assert len(told) == warned
    if warned:
        assert f"frame={picked[0].frame_id} " in told[0]
        assert told[0].endswith("budget_s=1")
