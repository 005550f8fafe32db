"""Pins, bands and their turns, and who gets a skipped task next."""

import sqlite3
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, event

from quandary.errors import NotFound, StaleLease, WrongState
from quandary.labels import FrameLabels
from quandary_server.leasing.events import Action, Requeue
from quandary_server.leasing.order import PriorityBand
from quandary_server.leasing.status import TaskState
from quandary_server.storage import Store
from quandary_server.storage.task_values import Task

NOW = datetime(2026, 1, 1, 12, 0, tzinfo=UTC)
QUARTER = timedelta(minutes=15)
SAFETY, CAMPAIGN, ACTIVE = PriorityBand


def lease(store: Store, max_tasks: int = 1, holder: str = "ada") -> list[str]:
    return [task.frame_id for task in leased(store, max_tasks, holder)]


def leased(store: Store, max_tasks: int = 1, holder: str = "ada") -> tuple[Task, ...]:
    return store.leases.lease("active", holder=holder, max_tasks=max_tasks, duration=QUARTER, now=NOW)


def token_of(task: Task) -> str:
    assert task.status.lease is not None
    return task.status.lease.token


def band(store: Store, number: int, to: PriorityBand) -> Task:
    return store.priorities.set_band("active", f"f{number:03d}", to, subject="olga", now=NOW)


def pin(store: Store, number: int, pinned: bool = True) -> Task:
    return store.priorities.pin("active", f"f{number:03d}", pinned=pinned, subject="olga", now=NOW)


def skip(store: Store, task: Task, requeue: Requeue, subject: str = "ada") -> Task:
    token = token_of(task)
    return store.leases.skip("active", task.frame_id, token, reason="ambiguous", requeue=requeue, subject=subject, now=NOW)


def test_pins_go_before_bands_and_bands_before_scores(store: Store, fill: Callable[..., Any]) -> None:
    fill(0.9, 0.1, 0.2, 0.3)
    store.ranking.write_ranks("active", ["f000"], now=NOW)
    assert band(store, 1, SAFETY).place.band is SAFETY
    band(store, 2, CAMPAIGN)
    assert pin(store, 3).place.pinned
    listed = [task.frame_id for task in store.tasks.list("active", now=NOW).items]
    assert listed == lease(store, 4) == ["f003", "f001", "f002", "f000"]


def test_a_pin_taken_away_and_a_band_set_back_leave_no_trace_in_the_order(store: Store, fill: Callable[..., Any]) -> None:
    fill(0.9, 0.1)
    before = store.tasks.get("active", "f001", now=NOW)
    pin(store, 1)
    band(store, 1, SAFETY)
    band(store, 1, ACTIVE)
    assert pin(store, 1, pinned=False) == before
    assert lease(store) == ["f000"]


def test_pin_and_band_outlast_a_new_score_and_a_release(store: Store, fill: Callable[..., Any]) -> None:
    fill(0.9, 0.1)
    band(store, 1, CAMPAIGN)
    store.ranking.write_ranks("active", ["f000"], now=NOW)
    (task,) = leased(store)
    store.leases.release("active", "f001", token_of(task), subject="ada", now=NOW)
    assert lease(store) == ["f001"]


def test_nothing_moves_under_a_labeller_nor_once_it_is_closed(store: Store, fill: Callable[..., Any]) -> None:
    fill(0.9)
    (task,) = leased(store)
    with pytest.raises(WrongState, match="pin: the task is leased"):
        pin(store, 0)
    with pytest.raises(WrongState, match="band: the task is leased"):
        band(store, 0, SAFETY)
    store.leases.acknowledge("active", "f000", token_of(task), FrameLabels("f000"), subject="ada", now=NOW)
    with pytest.raises(WrongState, match="pin: the task is acknowledged"):
        pin(store, 0)
    with pytest.raises(NotFound):
        pin(store, 5)


def test_a_lease_that_ran_out_holds_no_pin_up(store: Store, fill: Callable[..., Any]) -> None:
    fill(0.9)
    leased(store)
    pinned = store.priorities.pin("active", "f000", pinned=True, subject="olga", now=NOW + QUARTER)
    assert (pinned.state, pinned.status.failed_leases) == (TaskState.WAITING, 1)


def test_the_audit_tells_who_moved_what_from_where_and_why_once(store: Store, fill: Callable[..., Any]) -> None:
    fill(0.5)
    for _ in range(2):
        store.priorities.set_band("active", "f000", SAFETY, comment="recall 17", subject="olga", now=NOW)
    pin(store, 0)
    leased(store)
    events = [(event.subject, event.action, dict(event.details)) for event in store.audit.list().items]
    place = {"score": "0.5", "generation": "g1"}
    expires = (NOW + QUARTER).isoformat()
    assert events == [
        ("olga", Action.BAND, {"band": "active_learning", "to": "safety", "comment": "recall 17", **place}),
        ("olga", Action.PIN, {"band": "safety", "to": "pinned", **place}),
        ("ada", Action.LEASE, {"band": "safety", "pinned": "True", "expires": expires, **place}),
    ]


@pytest.mark.parametrize("at_once", [1, 7, 30])
def test_lower_bands_get_their_turns_each_in_its_own_order(store: Store, fill: Callable[..., Any], at_once: int) -> None:
    fill(*(1 - i / 100 for i in range(30)))
    for number in range(20):
        band(store, number, SAFETY if number < 16 else CAMPAIGN)
    found: list[str] = []
    while more := lease(store, at_once):
        found += more
    bands = "".join("S" if f < "f016" else "C" if f < "f020" else "A" for f in found)
    assert bands == "SSSSCA" * 4 + "A" * 6
    for which in "SCA":
        of_band = [frame for frame, letter in zip(found, bands, strict=True) if letter == which]
        assert of_band == sorted(of_band)
    events = store.audit.list(page_size=500).items
    told = Counter(event.details.get("passed_over") for event in events if event.action is Action.LEASE)
    assert told == {None: 23, "4": 4, "5": 3}  # at its last turn the lowest band waits alone


def test_pinned_tasks_pass_nobody_over(store: Store, fill: Callable[..., Any]) -> None:
    fill(*(1 - i / 100 for i in range(12)))
    for number in range(6):
        pin(store, number)
    for number in range(6, 11):
        band(store, number, SAFETY)
    assert lease(store, 12) == [f"f{i:03d}" for i in (*range(6), 6, 7, 8, 9, 11, 10)]


def test_queues_count_their_turns_apart(store: Store, fill: Callable[..., Any]) -> None:
    for queue in ("active", "control"):
        fill(*(1 - i / 100 for i in range(6)), queue=queue)
    for queue, first in (("active", 0), ("control", 6)):
        for number in range(first, first + 5):
            store.priorities.set_band(queue, f"f{number:03d}", SAFETY, subject="olga", now=NOW)
    for queue, last in (("active", "f005"), ("control", "f011")):
        found = store.leases.lease(queue, holder="ada", max_tasks=5, duration=QUARTER, now=NOW)
        assert found[4].frame_id == last


@pytest.mark.parametrize("places", ["sqlite"], indirect=True)
def test_the_turns_are_read_from_the_index(store: Store, place: str, fill: Callable[..., Any]) -> None:
    fill(0.1, 0.2, 0.3)
    band(store, 0, SAFETY)
    statements: list[tuple[str, Any]] = []

    def note(_conn: Any, _cursor: Any, statement: str, parameters: Any, _context: Any, _many: bool) -> None:
        statements.append((statement, parameters))

    event.listen(Engine, "before_cursor_execute", note)
    try:
        lease(store, 2)
    finally:
        event.remove(Engine, "before_cursor_execute", note)
    queries = [(text, values) for text, values in statements if "ORDER BY tasks.lease_key" in text]
    assert len(queries) == 1 + len(PriorityBand)
    with sqlite3.connect(place) as connection:
        for text, values in queries:
            plan = [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {text}", values)]
            assert plan[0].startswith("SEARCH tasks USING INDEX waiting_in_order (queue=?")
            assert not any("TEMP B-TREE" in step or "SCAN" in step for step in plan), plan


def test_a_task_skipped_for_others_never_comes_back_to_the_skipper(store: Store, fill: Callable[..., Any]) -> None:
    fill(0.9, 0.8)
    (task,) = leased(store)
    skipped = skip(store, task, Requeue.OTHERS)
    assert (skipped.state, skipped.skip_reason) == (TaskState.WAITING, "")
    assert lease(store, 5) == ["f001"]
    (other,) = leased(store, holder="bob")
    assert other.frame_id == "f000"
    skip(store, other, Requeue.OTHERS, subject="bob")
    assert lease(store) == lease(store, holder="bob") == []
    assert lease(store, holder="cy") == ["f000"]


def test_a_task_skipped_for_anybody_waits_in_its_old_place(store: Store, fill: Callable[..., Any]) -> None:
    fill(0.9, 0.8)
    (task,) = leased(store)
    skip(store, task, Requeue.ANYBODY)
    assert lease(store) == ["f000"]


def test_a_skip_told_twice_counts_once_until_another_has_the_task(store: Store, fill: Callable[..., Any]) -> None:
    fill(0.9)
    (task,) = leased(store)
    skipped = skip(store, task, Requeue.OTHERS)
    assert skip(store, task, Requeue.OTHERS) == skipped
    assert skip(store, task, Requeue.NEVER) == skipped
    actions = [event.action for event in store.audit.list().items]
    assert actions == [Action.LEASE, Action.SKIP]
    leased(store, holder="bob")
    with pytest.raises(StaleLease):
        skip(store, task, Requeue.OTHERS)


def test_who_skips_again_under_another_lease_is_kept_away_once(store: Store, fill: Callable[..., Any]) -> None:
    fill(0.9)
    for holder in ("ada", "bob"):
        (task,) = leased(store, holder=holder)
        skip(store, task, Requeue.OTHERS, subject="lead")
    assert lease(store, holder="lead") == []
    assert lease(store, holder="ada") == ["f000"]
