"""The audit: every change with its subject."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from quandary.errors import InvalidArgument
from quandary.labels import FrameLabels
from quandary_server.leasing.events import Action
from quandary_server.storage import Store
from quandary_server.storage.audit import AuditEvent, PointerAction
from quandary_server.wire.tasks import audit_message

NOW = datetime(2026, 1, 1, 12, 0, tzinfo=UTC)
QUARTER = timedelta(minutes=15)


def test_a_task_has_its_whole_story_told(store: Store, fill: Callable[..., Any]) -> None:
    fill(0.5)

    def lease(holder: str, now: datetime) -> str:
        (task,) = store.leases.lease("active", holder=holder, max_tasks=1, duration=QUARTER, now=now)
        assert task.status.lease is not None
        return task.status.lease.token

    times = [NOW + i * timedelta(minutes=20) for i in range(4)]
    lease("ada", times[0])
    released = lease("bob", times[1])  # which notices that ada's has expired
    store.leases.release("active", "f000", released, subject="bob", now=times[1])
    last = lease("cy", times[2])
    store.leases.renew("active", "f000", last, subject="cy", duration=timedelta(hours=1), now=times[2])
    store.leases.acknowledge("active", "f000", last, FrameLabels("f000"), subject="cy", now=times[3])

    events = store.audit.list().items
    assert [(event.time, event.subject, event.action) for event in events] == [
        (times[0], "ada", Action.LEASE),
        (times[1], "", Action.EXPIRE),
        (times[1], "bob", Action.LEASE),
        (times[1], "bob", Action.RELEASE),
        (times[2], "cy", Action.LEASE),
        (times[2], "cy", Action.RENEW),
        (times[3], "cy", Action.ACKNOWLEDGE),
    ]
    assert {(event.queue, event.frame_id) for event in events} == {("active", "f000")}
    assert events[1].details == {"holder": "ada", "expired": "2026-01-01T12:15:00+00:00", "state": "waiting"}


def test_a_lease_says_why_this_task_and_no_token_is_written(store: Store, fill: Callable[..., Any]) -> None:
    fill(0.5, None)
    store.ranking.write_ranks("active", ["f000"], now=NOW)
    tasks = store.leases.lease("active", holder="ada", max_tasks=2, duration=QUARTER, now=NOW)
    picked, unscored = store.audit.list().items
    expires = {"expires": "2026-01-01T12:15:00+00:00", "band": "active_learning"}
    assert picked.details == {**expires, "rank": "0", "score": "0.5", "generation": "g1"}
    assert unscored.details == expires
    tokens = [task.status.lease.token for task in tasks if task.status.lease]
    assert len(tokens) == 2
    assert not any(token in str(event) for event in (picked, unscored) for token in tokens)


def test_what_is_refused_leaves_no_trace(store: Store, fill: Callable[..., Any]) -> None:
    fill(0.5)
    with pytest.raises(InvalidArgument):
        store.leases.lease("active", holder="ada", max_tasks=1, duration=timedelta(0), now=NOW)
    assert store.audit.list().items == ()


def test_events_come_by_page_and_by_task(store: Store, fill: Callable[..., Any]) -> None:
    fill(0.5, 0.4, 0.3)
    store.leases.lease("active", holder="ada", max_tasks=3, duration=QUARTER, now=NOW)
    first = store.audit.list(page_size=2)
    second = store.audit.list(page_size=2, page_token=first.next_token)
    assert [event.frame_id for event in (*first.items, *second.items)] == ["f000", "f001", "f002"]
    assert [event.frame_id for event in store.audit.list(task=("active", "f001")).items] == ["f001"]
    with pytest.raises(InvalidArgument, match="page_token"):
        store.audit.list(task=("active", "f001"), page_token=first.next_token)
    last = store.audit.list(newest_first=True, page_size=2)
    before = store.audit.list(newest_first=True, page_size=2, page_token=last.next_token)
    assert [event.frame_id for event in (*last.items, *before.items)] == ["f002", "f001", "f000"]
    with pytest.raises(InvalidArgument, match="page_token"):
        store.audit.list(newest_first=True, page_token=first.next_token)


def test_what_happens_to_the_pointer_is_in_it_too_and_the_last_of_it_is_found(store: Store) -> None:
    assert store.audit.last_move() is None
    facts = {"generation": "g000002-00000000", "before": "g000001-00000000"}
    moves = [AuditEvent(NOW, "ada", action, "", "", facts) for action in PointerAction]
    for move in moves:
        store.audit.write(move)
    assert store.audit.list().items == tuple(moves)
    assert store.audit.last_move() == moves[-1]
    assert audit_message(moves[0]).task == ""
