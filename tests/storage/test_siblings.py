"""Near copies wait folded under the task that is asked for, and are not leased beside it."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from quandary.errors import InvalidArgument
from quandary.labels import FrameLabels
from quandary_server.leasing.order import FOLDED_KEYS, Place, PriorityBand
from quandary_server.storage.store import Store
from quandary_server.storage.task_values import NewScore

NOW = datetime(2026, 1, 1, 12, 0, tzinfo=UTC)
QUARTER = timedelta(minutes=15)


def to_safety(store: Store, frame_id: str) -> None:
    store.priorities.set_band("active", frame_id, PriorityBand.SAFETY, subject="olga", now=NOW)


def lease(store: Store, count: int) -> list[Any]:
    return list(store.leases.lease("active", holder="ada", max_tasks=count, duration=QUARTER, now=NOW))


def folded(store: Store) -> dict[str, str]:
    tasks = store.tasks.list("active", now=NOW).items
    return {task.frame_id: task.folded_under for task in tasks if task.folded_under}


@pytest.fixture
def best(store: Store, fill: Callable[..., Any]) -> str:
    """The store holds f000 with f001 and f003 folded under it, and f002."""
    fill(0.4, 0.3, 0.2, 0.1)
    store.ranking.write_ranks("active", ["f000", "f002"], folded={"f003": "f000", "f001": "f000"}, now=NOW)
    return "f000"


def test_a_lease_brings_its_siblings_and_leaves_them(store: Store, best: str) -> None:
    leased = lease(store, 4)
    assert [(task.frame_id, task.siblings) for task in leased] == [(best, ("f001", "f003")), ("f002", ())]
    assert lease(store, 4) == []
    assert store.tasks.get("active", best, now=NOW).siblings == ("f001", "f003")
    assert folded(store) == {"f001": best, "f003": best}
    stats = store.tasks.stats("active", generation="g1", now=NOW)
    assert (stats.waiting, stats.folded, stats.leased) == (0, 2, 2)


def test_what_the_next_generation_scores_is_folded_no_more(store: Store, best: str) -> None:
    lease(store, 2)
    store.ranking.rescore("active", [NewScore("f003", 0.9, b"")], generation="g2", now=NOW)
    assert folded(store) == {"f001": best}
    assert [task.frame_id for task in lease(store, 4)] == ["f003"]


def test_the_next_query_folds_anew_and_opens_what_it_leaves_out(store: Store, best: str) -> None:
    store.ranking.write_ranks("active", ["f003"], folded={"f002": "f003"}, now=NOW)
    assert folded(store) == {"f002": "f003"}
    assert [task.frame_id for task in lease(store, 4)] == ["f003", best, "f001"]


def test_a_released_task_waits_with_its_siblings(store: Store, best: str) -> None:
    (task,) = lease(store, 1)
    store.leases.release("active", best, task.status.lease.token, subject="ada", now=NOW)
    assert store.tasks.get("active", best, now=NOW).siblings == ("f001", "f003")


def test_a_label_for_a_folded_frame_closes_it(store: Store, best: str) -> None:
    store.labels.submit([FrameLabels("f001")], labeller="eve", now=NOW)
    assert lease(store, 1)[0].siblings == ("f003",)


def test_folded_tasks_are_scored_last_and_are_candidates(store: Store, best: str) -> None:
    behind = store.ranking.waiting_behind("active", "g2", limit=9, now=NOW).tasks
    assert [task.frame_id for task in behind] == [best, "f002", "f001", "f003"]
    assert len(store.ranking.candidates("active", now=NOW)) == 4


def test_folded_tasks_make_a_query_due_only_where_nothing_else_can_be_asked_for(store: Store, best: str) -> None:
    leased = lease(store, 2)
    assert not store.ranking.ranks_run_out("active", 9, now=NOW)
    for task in leased:
        labels = FrameLabels(task.frame_id)
        store.leases.acknowledge("active", task.frame_id, task.status.lease.token, labels, subject="ada", now=NOW)
    assert store.ranking.ranks_run_out("active", 9, now=NOW)


def test_nothing_is_both_ranked_and_folded(store: Store, best: str) -> None:
    with pytest.raises(InvalidArgument, match="folded is f001, must be a frame that is not ranked"):
        store.ranking.write_ranks("active", ["f001"], folded={"f001": best}, now=NOW)


def test_a_band_unfolds(store: Store, best: str) -> None:
    to_safety(store, "f003")
    assert folded(store) == {"f001": best}
    assert [task.frame_id for task in lease(store, 4)] == ["f003", best, "f002"]


def test_the_band_that_a_folded_task_has_already_leaves_it_folded(store: Store, best: str) -> None:
    store.priorities.set_band("active", "f003", PriorityBand.ACTIVE_LEARNING, subject="olga", now=NOW)
    assert folded(store) == {"f001": best, "f003": best}


@pytest.mark.parametrize("taken", [False, True])
def test_what_stands_in_a_band_before_is_ranked_behind_the_others_in_place_of_folded(
    store: Store, best: str, taken: bool
) -> None:
    to_safety(store, "f003")
    if taken:
        store.priorities.pin("active", best, pinned=True, subject="olga", now=NOW)
        lease(store, 1)
    ranked = store.ranking.write_ranks("active", ["f002"], folded={"f003": best, "f001": best}, now=NOW)
    assert (ranked, folded(store)) == (2, {"f001": best})
    assert store.tasks.get("active", "f003", now=NOW).place.rank == 1
    assert lease(store, 1)[0].frame_id == "f003"


def test_within_a_band_near_copies_are_folded(store: Store, best: str) -> None:
    to_safety(store, best)
    to_safety(store, "f003")
    store.ranking.write_ranks("active", [best], folded={"f003": best, "f001": best}, now=NOW)
    assert folded(store) == {"f001": best, "f003": best}


def test_a_pin_unfolds() -> None:
    place = Place("f", 0, folded=True)
    assert place.key() >= FOLDED_KEYS > replace(place, pinned=True).key()
    assert (place.can_be_leased, replace(place, pinned=True).can_be_leased) == (False, True)
