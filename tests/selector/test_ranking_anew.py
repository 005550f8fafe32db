"""What is scored is ranked by the query, again when that runs out."""

from datetime import datetime, timedelta
from itertools import combinations, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.rescoring import FRAMES, NOW, QUERY, Selector, embeddings_of, ranked_of, tasks_of
from support.scoring import ScoringService

from quandary import convert
from quandary.labels import FrameLabels
from quandary.v1 import fleet_log_pb2
from quandary_server.selection.plan import Strategy
from quandary_server.settings import QuerySettings
from quandary_server.storage.store import Store


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
