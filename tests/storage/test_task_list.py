"""The tasks of a queue: one, by page, counted."""

import base64
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from quandary.errors import InvalidArgument, NotFound
from quandary.labels import FrameLabels
from quandary_server.leasing.status import TaskState
from quandary_server.storage import Store
from quandary_server.storage.task_values import QueueStats

NOW = datetime(2026, 1, 1, 12, 0, tzinfo=UTC)
QUARTER = timedelta(minutes=15)


def test_pages_in_lease_order_hold_every_task_once(store: Store, fill: Callable[..., Any]) -> None:
    fill(*(i / 10 for i in range(7)))
    found, token = [], ""
    for expected in (3, 3, 1):
        page = store.tasks.list("active", page_size=3, page_token=token, now=NOW)
        assert len(page.items) == expected
        found += [task.frame_id for task in page.items]
        token = page.next_token
    assert token == ""
    assert found == [f"f{i:03d}" for i in reversed(range(7))]


def test_a_full_last_page_has_no_next(store: Store, fill: Callable[..., Any]) -> None:
    fill(0.1, 0.2)
    assert store.tasks.list("active", page_size=2, now=NOW).next_token == ""


def test_a_list_can_be_narrowed_to_a_state(store: Store, fill: Callable[..., Any]) -> None:
    fill(0.3, 0.2, 0.1)
    store.leases.lease("active", holder="ada", max_tasks=1, duration=QUARTER, now=NOW)
    leased = store.tasks.list("active", TaskState.LEASED, now=NOW)
    assert [task.frame_id for task in leased.items] == ["f000"]
    first = store.tasks.list("active", TaskState.WAITING, page_size=1, now=NOW)
    second = store.tasks.list("active", TaskState.WAITING, page_size=1, page_token=first.next_token, now=NOW)
    assert [task.frame_id for task in (*first.items, *second.items)] == ["f001", "f002"]
    waiting_again = store.tasks.list("active", TaskState.WAITING, now=NOW + QUARTER)
    assert [task.frame_id for task in waiting_again.items] == ["f000", "f001", "f002"]


DEEP = [base64.urlsafe_b64encode(b"[" * depth).decode() for depth in (1_200, 100_000)]


@pytest.mark.parametrize("token", ["x", "AAAA", "é", "WzEsMl0=", "W10=", "bnVsbA==", *DEEP])
def test_a_malformed_token_is_refused(store: Store, token: str) -> None:
    with pytest.raises(InvalidArgument, match="page_token"):
        store.tasks.list("active", page_token=token, now=NOW)


def test_a_token_of_another_list_is_refused(store: Store, fill: Callable[..., Any]) -> None:
    fill(0.1, 0.2)
    token = store.tasks.list("active", page_size=1, now=NOW).next_token
    with pytest.raises(InvalidArgument, match="page_token"):
        store.tasks.list("active", TaskState.WAITING, page_token=token, now=NOW)
    with pytest.raises(InvalidArgument, match="page_token"):
        store.tasks.list("control", page_token=token, now=NOW)


@pytest.mark.parametrize("page_size", [0, -1, 501])
def test_a_page_size_out_of_bounds_is_refused(store: Store, page_size: int) -> None:
    with pytest.raises(InvalidArgument, match="page_size"):
        store.tasks.list("active", page_size=page_size, now=NOW)


def test_an_unknown_queue_is_not_found(store: Store) -> None:
    with pytest.raises(NotFound, match="elsewhere"):
        store.tasks.list("elsewhere", now=NOW)
    with pytest.raises(NotFound, match="elsewhere"):
        store.tasks.stats("elsewhere", generation="", now=NOW)


def test_an_empty_queue_counts_to_nothing(store: Store) -> None:
    assert store.tasks.stats("control", generation="g1", now=NOW) == QueueStats("control", 0, 0, 0, 0, 0, 0, 0, 0, None, 0)


def test_the_counts_of_a_queue_in_every_state(store: Store, fill: Callable[..., Any]) -> None:
    fill(0.6, 0.5, 0.4, 0.3, None, queue="active")
    fill(0.9, queue="control")
    tasks = store.leases.lease("active", holder="ada", max_tasks=3, duration=QUARTER, now=NOW)
    tokens = [task.status.lease.token for task in tasks if task.status.lease]
    store.leases.acknowledge("active", "f000", tokens[0], FrameLabels("f000"), subject="ada", now=NOW)
    store.leases.skip("active", "f001", tokens[1], reason="duplicate", subject="ada", now=NOW)
    stats = store.tasks.stats("active", generation="g2", now=NOW)
    assert stats == QueueStats("active", 2, 0, 1, 1, 1, 0, unscored=1, behind=2, oldest_waiting=NOW, rejected=0)
    assert store.tasks.stats("active", generation="g1", now=NOW).behind == 1
    assert store.tasks.stats("active", generation="", now=NOW).behind == 2


def test_expired_leases_count_as_waiting_or_as_dead_letters(store: Store, fill: Callable[..., Any]) -> None:
    fill(0.2)
    now = NOW
    for _ in range(2):
        store.leases.lease("active", holder="ada", max_tasks=1, duration=QUARTER, now=now)
        now += QUARTER
        stats = store.tasks.stats("active", generation="g1", now=now)
        assert (stats.waiting, stats.leased, stats.dead_letter) == (1, 0, 0)
    store.leases.lease("active", holder="ada", max_tasks=1, duration=QUARTER, now=now)
    stats = store.tasks.stats("active", generation="g1", now=now + QUARTER)
    assert (stats.waiting, stats.leased, stats.dead_letter) == (0, 0, 1)


def test_an_unknown_task_is_not_found(store: Store) -> None:
    with pytest.raises(NotFound, match="f000"):
        store.tasks.get("active", "f000", now=NOW)
