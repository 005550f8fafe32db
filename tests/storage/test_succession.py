"""A task ends without labels: its near copies are asked for instead, at once."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from quandary_server.leasing.events import Action, Requeue
from quandary_server.leasing.order import PriorityBand
from quandary_server.leasing.status import TaskState
from quandary_server.storage.audit import PlaceAction
from quandary_server.storage.store import Store
from quandary_server.storage.task_values import Task

NOW = datetime(2026, 1, 1, 12, 0, tzinfo=UTC)
QUARTER = timedelta(minutes=15)


def lease(store: Store, count: int = 9, now: datetime = NOW, holder: str = "ada") -> tuple[Task, ...]:
    return store.leases.lease("active", holder=holder, max_tasks=count, duration=QUARTER, now=now)


def skip(store: Store, task: Task, requeue: Requeue = Requeue.NEVER, reason: str = "unreadable", **more: Any) -> Task:
    assert task.status.lease is not None
    token = task.status.lease.token
    told = {"reason": reason, "requeue": requeue, "subject": "ada", "now": NOW, **more}
    return store.leases.skip("active", task.frame_id, token, **told)


def standing(store: Store) -> dict[str, tuple[int | None, str]]:
    """Rank and fold of all that waits."""
    tasks = store.tasks.list("active", TaskState.WAITING, now=NOW).items
    return {task.frame_id: (task.place.rank, task.folded_under) for task in tasks}


@pytest.fixture
def best(store: Store, fill: Callable[..., Any]) -> Task:
    """f002 is leased, rank 0; f001, f003 and f004 wait folded under it, the frames being a second apart; f000 has rank 1."""
    fill(0.2, 0.3, 0.9, 0.5, 0.4)
    store.ranking.write_ranks("active", ["f002", "f000"], folded=dict.fromkeys(["f001", "f003", "f004"], "f002"), now=NOW)
    return lease(store, 1)[0]


def test_the_best_copy_of_a_task_skipped_for_good_takes_its_rank_and_the_others_are_folded_under_it(
    store: Store, best: Task
) -> None:
    skip(store, best)
    assert standing(store) == {"f003": (0, ""), "f000": (1, ""), "f001": (None, "f003"), "f004": (None, "f003")}
    assert [(task.frame_id, task.siblings) for task in lease(store)] == [("f003", ("f001", "f004")), ("f000", ())]
    told = {event.action: event for event in store.audit.list().items}
    assert told[Action.SKIP].details["heir"] == "f003"
    succession = told[PlaceAction.SUCCEED]
    assert (succession.frame_id, succession.subject) == ("f003", "ada")
    assert succession.details == {"of": "f002", "rank": "0", "query": "1"}


def test_who_stands_in_for_another_is_told_until_a_query_gives_it_a_rank_of_its_own(store: Store, best: Task) -> None:
    def stands_in_for(frame_id: str) -> str:
        return store.audit.stands_in_for("active", store.tasks.get("active", frame_id, now=NOW).place)

    assert stands_in_for("f000") == ""
    skip(store, best)
    assert [stands_in_for(frame_id) for frame_id in ("f003", "f000", "f001")] == ["f002", "", ""]
    (heir,) = lease(store, 1)
    assert (heir.frame_id, stands_in_for("f003")) == ("f003", "f002")
    store.leases.release("active", "f003", heir.status.lease.token, subject="ada", now=NOW)  # type: ignore[union-attr]
    store.ranking.write_ranks("active", ["f003"], now=NOW)  # the same rank, of another query
    assert store.tasks.get("active", "f003", now=NOW).place.rank == 0
    assert stands_in_for("f003") == ""


def test_an_heir_of_a_dead_letter_is_succeeded_in_its_turn(store: Store, best: Task) -> None:
    skip(store, best)
    skip(store, lease(store, 1)[0])
    (heir,) = lease(store, 1)
    assert heir.place.rank == 0
    assert store.audit.stands_in_for("active", heir.place) == "f003"


def test_copies_of_a_scene_that_is_labelled_already_wait_behind_the_ranked(store: Store, best: Task) -> None:
    skip(store, best, reason="duplicate")
    assert standing(store) == {"f000": (1, ""), "f003": (None, ""), "f001": (None, "f003"), "f004": (None, "f003")}


def test_a_copy_that_is_not_known_to_be_near_to_the_heir_waits_for_itself(store: Store, fill: Callable[..., Any]) -> None:
    fill(0.1, 0.5, 0.9, 0.4)
    store.ranking.write_ranks("active", ["f002"], folded={"f001": "f002", "f003": "f002"}, now=NOW)
    skip(store, lease(store, 1)[0])
    assert standing(store) == {"f001": (0, ""), "f003": (None, ""), "f000": (None, "")}


def test_a_dead_letter_is_succeeded_when_its_last_lease_expires(store: Store, best: Task) -> None:
    now = NOW
    for _ in range(2):
        now += QUARTER
        assert [task.frame_id for task in lease(store, 1, now)] == ["f002"]
    now += QUARTER
    assert [task.frame_id for task in lease(store, 1, now)] == ["f003"]
    assert store.tasks.get("active", "f002", now=now).state is TaskState.DEAD_LETTER
    last = [event for event in store.audit.list().items if event.action is Action.EXPIRE][-1]
    assert (last.details["state"], last.details["heir"]) == ("dead_letter", "f003")


@pytest.mark.parametrize("requeue", [Requeue.ANYBODY, Requeue.OTHERS])
def test_a_task_that_somebody_may_still_get_keeps_its_siblings(store: Store, best: Task, requeue: Requeue) -> None:
    assert skip(store, best, requeue, labellers=["ada", "bob"]).state is TaskState.WAITING
    assert standing(store)["f003"] == (None, "f002")


def test_a_task_that_every_labeller_skipped_for_others_is_a_dead_letter_and_succeeded(store: Store, best: Task) -> None:
    both = ["ada", "bob"]
    skip(store, best, Requeue.OTHERS, labellers=both)
    (again,) = lease(store, 1, holder="bob")
    assert again.frame_id == "f002"
    dead = skip(store, again, Requeue.OTHERS, labellers=both, subject="bob")
    assert dead.state is TaskState.DEAD_LETTER
    assert skip(store, again, Requeue.OTHERS, labellers=both, subject="bob") == dead
    assert standing(store)["f003"] == (0, "")
    opened = store.priorities.requeue("active", "f002", subject="olga", now=NOW)
    assert (opened.state, opened.place.rank) == (TaskState.WAITING, None)
    assert [task.frame_id for task in lease(store)] == ["f003", "f000", "f002"]  # ada may have it again


def test_a_query_folds_nothing_under_what_was_given_up_while_it_thought(store: Store, best: Task) -> None:
    skip(store, best)
    store.ranking.write_ranks("active", ["f000"], folded={"f001": "f002", "f003": "f000"}, now=NOW)
    assert standing(store) == {"f000": (0, ""), "f001": (None, ""), "f004": (None, ""), "f003": (None, "f000")}


def test_a_task_moved_to_a_lower_band_leaves_no_sibling_of_a_higher_one_folded(store: Store, fill: Callable[..., Any]) -> None:
    fill(0.9, 0.5, 0.4)
    for name in ("f000", "f001"):
        store.priorities.set_band("active", name, PriorityBand.SAFETY, subject="olga", now=NOW)
    store.ranking.write_ranks("active", ["f000"], folded={"f001": "f000", "f002": "f000"}, now=NOW)
    store.priorities.set_band("active", "f000", PriorityBand.CAMPAIGN, subject="olga", now=NOW)
    assert standing(store) == {"f001": (None, ""), "f000": (0, ""), "f002": (None, "f000")}
    assert [task.frame_id for task in lease(store)] == ["f001", "f000"]
