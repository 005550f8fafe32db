"""Scores and ranks of the tasks that wait."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from quandary.errors import InvalidArgument
from quandary.labels import FrameLabels
from quandary_server.storage import Store
from quandary_server.storage.task_values import NewScore, ScoredTask, TakenTask

NOW = datetime(2026, 1, 1, 12, 0, tzinfo=UTC)
QUARTER = timedelta(minutes=15)


def order(store: Store, now: datetime = NOW) -> list[str]:
    return [task.frame_id for task in store.tasks.list("active", now=now).items]


def test_new_scores_change_the_order_and_name_their_generation(store: Store, fill: Callable[..., Any]) -> None:
    fill(0.3, 0.2, None)
    scores = [NewScore("f002", 0.9, b"two"), NewScore("f000", 0.1, b"zero")]
    assert store.ranking.rescore("active", scores, generation="g2", now=NOW) == 2
    assert order(store) == ["f002", "f001", "f000"]
    task = store.tasks.get("active", "f002", now=NOW)
    assert (task.place.score, task.generation, task.frame_score) == (0.9, "g2", b"two")
    assert store.tasks.get("active", "f001", now=NOW).generation == "g1"


def test_only_waiting_tasks_are_scored_anew_and_unknown_ones_are_passed_over(store: Store, fill: Callable[..., Any]) -> None:
    fill(0.3, 0.2)
    (leased,) = store.leases.lease("active", holder="ada", max_tasks=1, duration=QUARTER, now=NOW)
    scores = [NewScore(frame_id, 0.9, b"new") for frame_id in ("f000", "f001", "f009")]
    assert store.ranking.rescore("active", scores, generation="g2", now=NOW) == 1
    assert store.tasks.get("active", "f000", now=NOW) == leased


def test_a_lease_that_ran_out_is_scored_anew(store: Store, fill: Callable[..., Any]) -> None:
    fill(0.3)
    store.leases.lease("active", holder="ada", max_tasks=1, duration=QUARTER, now=NOW)
    later = NOW + QUARTER
    assert store.ranking.rescore("active", [NewScore("f000", 0.9, b"new")], generation="g2", now=later) == 1


def test_scores_without_generation_given_twice_or_not_finite_are_refused(store: Store) -> None:
    with pytest.raises(InvalidArgument, match="generation"):
        store.ranking.rescore("active", [NewScore("f000", 0.9, b"")], generation="", now=NOW)
    with pytest.raises(InvalidArgument, match="one per frame"):
        store.ranking.rescore("active", [NewScore("f000", 0.9, b"")] * 2, generation="g2", now=NOW)
    with pytest.raises(InvalidArgument, match="score"):
        NewScore("f000", float("inf"), b"")


def test_those_behind_a_generation_come_in_lease_order_with_their_records(store: Store, fill: Callable[..., Any]) -> None:
    fill(0.1, 0.4, None, 0.3)
    store.ranking.rescore("active", [NewScore("f003", 0.3, b"new")], generation="g2", now=NOW)
    behind = store.ranking.waiting_behind("active", "g2", limit=2, now=NOW).tasks
    assert [(task.frame_id, task.record) for task in behind] == [
        ("f001", b"record of f001"),
        ("f000", b"record of f000"),
    ]
    everything = store.ranking.waiting_behind("active", "g2", limit=9, now=NOW).tasks
    assert [task.frame_id for task in everything] == ["f001", "f000", "f002"]
    assert [task.frame_id for task in store.ranking.waiting_behind("active", "g1", limit=9, now=NOW).tasks] == ["f003", "f002"]


def test_those_behind_a_generation_are_found_piece_by_piece(store: Store, fill: Callable[..., Any]) -> None:
    fill(0.5, 0.4, 0.3, 0.2, 0.1)
    store.ranking.rescore("active", [NewScore(f"f00{i}", 0.5 - i / 10, b"new") for i in (0, 1, 3)], generation="g2", now=NOW)
    found, after = [], b""
    for _ in range(3):
        piece = store.ranking.waiting_behind("active", "g2", limit=9, now=NOW, after=after, rows=2)
        found.append([task.frame_id for task in piece.tasks])
        if piece.last is None:
            break
        after = piece.last
    assert found == [[], ["f002"], ["f004"]]
    assert piece.last is None
    assert store.ranking.waiting_behind("active", "g2", limit=1, now=NOW).tasks[0].frame_id == "f002"
    assert store.ranking.waiting_behind("control", "g2", limit=1, now=NOW).tasks == ()


def test_candidates_are_the_waiting_tasks_with_a_score(store: Store, fill: Callable[..., Any]) -> None:
    fill(0.1, 0.4, None, 0.3)
    store.leases.lease("active", holder="ada", max_tasks=1, duration=QUARTER, now=NOW)
    stamp = NOW - timedelta(hours=1)
    assert store.ranking.candidates("active", now=NOW) == (
        ScoredTask("f003", "drive-1", stamp + timedelta(seconds=4), 0.3, "g1", 4),
        ScoredTask("f000", "drive-1", stamp + timedelta(seconds=1), 0.1, "g1", 4),
    )


def test_taken_frames_are_those_leased_or_acknowledged(store: Store, fill: Callable[..., Any]) -> None:
    fill(0.3, 0.2, 0.1, 0.0)
    _, second, third = store.leases.lease("active", holder="ada", max_tasks=3, duration=QUARTER, now=NOW)
    assert second.status.lease is not None
    assert third.status.lease is not None
    labels = FrameLabels("f001")
    store.leases.acknowledge("active", "f001", second.status.lease.token, labels, subject="ada", now=NOW)
    store.leases.skip("active", "f002", third.status.lease.token, reason="duplicate", subject="ada", now=NOW)
    stamp = NOW - timedelta(hours=1)
    assert store.ranking.taken("active", now=NOW) == (
        TakenTask("f000", "drive-1", stamp + timedelta(seconds=1), "g1", 4, leased=True),
        TakenTask("f001", "drive-1", stamp + timedelta(seconds=2), "g1", 4),
    )


def test_frame_scores_are_read_by_frame(store: Store, fill: Callable[..., Any]) -> None:
    fill(0.3, 0.2, None)
    scores = [NewScore(frame_id, 0.1, frame_id.encode()) for frame_id in ("f000", "f001")]
    store.ranking.rescore("active", scores, generation="g2", now=NOW)
    assert store.ranking.frame_scores("active", ["f001", "f002", "f009"]) == {"f001": b"f001"}
    assert store.ranking.frame_scores("active", ["f001", "f000"]) == {"f000": b"f000", "f001": b"f001"}
    assert store.ranking.frame_scores("control", ["f001"]) == {}


def test_candidates_and_taken_bring_their_tags_where_asked_for(store: Store, entry: Callable[..., Any]) -> None:
    entries = [replace(entry(i, 1 / i), tags={"weather": f"w{i}"}) for i in (1, 2)]
    store.intake.apply(entries, log="log", after=0, position=2, now=NOW)
    store.leases.lease("active", holder="ada", max_tasks=1, duration=QUARTER, now=NOW)
    (waiting,) = store.ranking.candidates("active", now=NOW, with_tags=True)
    (taken,) = store.ranking.taken("active", now=NOW, with_tags=True)
    assert (waiting.tags, taken.tags) == ({"weather": "w2"}, {"weather": "w1"})
    assert store.ranking.candidates("active", now=NOW)[0].tags is None
    assert store.ranking.taken("active", now=NOW)[0].tags is None


def test_ranks_go_before_scores_and_the_next_query_replaces_them(store: Store, fill: Callable[..., Any]) -> None:
    fill(0.4, 0.3, 0.2, 0.1)
    assert store.ranking.write_ranks("active", ["f003", "f001"], now=NOW) == 2
    assert order(store) == ["f003", "f001", "f000", "f002"]
    assert store.ranking.write_ranks("active", ["f002", "f003"], now=NOW) == 2
    assert order(store) == ["f002", "f003", "f000", "f001"]
    assert store.ranking.write_ranks("active", [], now=NOW) == 0
    assert order(store) == ["f000", "f001", "f002", "f003"]


def test_a_leased_task_keeps_its_rank(store: Store, fill: Callable[..., Any]) -> None:
    fill(0.3, 0.2, 0.1)
    store.ranking.write_ranks("active", ["f002"], now=NOW)
    (leased,) = store.leases.lease("active", holder="ada", max_tasks=1, duration=QUARTER, now=NOW)
    assert store.ranking.write_ranks("active", ["f001", "f002", "f000"], now=NOW) == 2
    assert store.tasks.get("active", "f002", now=NOW) == leased
    assert [store.tasks.get("active", f, now=NOW).place.rank for f in ("f001", "f000")] == [0, 2]


def test_ranks_have_run_out_when_too_few_wait_and_the_query_has_something_to_pick(
    store: Store, fill: Callable[..., Any]
) -> None:
    fill(0.3, 0.2, 0.1, None)
    assert store.ranking.ranks_run_out("active", 1, now=NOW)
    assert not store.ranking.ranks_run_out("active", 0, now=NOW)
    store.ranking.write_ranks("active", ["f000", "f001"], now=NOW)
    assert not store.ranking.ranks_run_out("active", 2, now=NOW)
    assert store.ranking.ranks_run_out("active", 3, now=NOW)
    store.leases.lease("active", holder="ada", max_tasks=1, duration=QUARTER, now=NOW)
    assert store.ranking.ranks_run_out("active", 2, now=NOW)
    assert not store.ranking.ranks_run_out("active", 2, now=NOW + QUARTER), "the lease expired: its rank waits again"
    store.ranking.write_ranks("active", ["f000", "f001", "f002"], now=NOW + QUARTER)
    assert not store.ranking.ranks_run_out("active", 9, now=NOW + QUARTER), "only an unscored task is left to pick"


def test_a_frame_ranked_twice_is_refused(store: Store, fill: Callable[..., Any]) -> None:
    fill(0.3)
    with pytest.raises(InvalidArgument, match="each frame once"):
        store.ranking.write_ranks("active", ["f000", "f000"], now=NOW)
