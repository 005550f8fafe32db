"""A new generation scores what waits: rollbacks and outages amid it, and what labellers get meanwhile."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from itertools import combinations, pairwise
from pathlib import Path
from typing import Any

from support.rescoring import FRAMES, NOW, PACE, QUERY, Selector, folds, lease, ranked_of, roll_back, standing, tasks_of
from support.scoring import ScoringService

from quandary_server.selector.put_off import FIRST_WAIT
from quandary_server.storage.store import Store
from quandary_server.storage.task_values import Task


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
