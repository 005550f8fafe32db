"""Leasing tasks and ending leases."""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, create_engine, event, update
from support.postgres import STORE, Postgres

from quandary.errors import InvalidArgument, NotFound, StaleLease, WrongState
from quandary.geometry import Box3D
from quandary.labels import FrameLabels, Label
from quandary_server.leasing.order import Place, PriorityBand
from quandary_server.leasing.status import TaskState
from quandary_server.storage import Store
from quandary_server.storage.opening import url_of
from quandary_server.storage.schema import tasks
from quandary_server.storage.task_values import Task

NOW = datetime(2026, 1, 1, 12, 0, tzinfo=UTC)
QUARTER = timedelta(minutes=15)
CAR = Label("Car", Box3D(10, 2, -1, 4, 1.6, 1.5, 0.1), truncation=0.0, occlusion=1)


def lease(store: Store, max_tasks: int = 1, *, now: datetime = NOW, holder: str = "ada") -> tuple[Task, ...]:
    return store.leases.lease("active", holder=holder, max_tasks=max_tasks, duration=QUARTER, now=now)


def token_of(task: Task) -> str:
    assert task.status.lease is not None
    return task.status.lease.token


def test_leases_are_given_in_lease_order_each_with_a_token_of_its_own(store: Store, fill: Callable[..., Any]) -> None:
    fill(0.1, 0.3, None, 0.2)
    tasks = lease(store, 3)
    assert [task.frame_id for task in tasks] == ["f001", "f003", "f000"]
    assert len({token_of(task) for task in tasks}) == 3
    assert [task.frame_id for task in lease(store, 3)] == ["f002"]
    assert lease(store, 3) == ()


def test_a_leased_task_carries_all_that_a_labeller_needs(store: Store, fill: Callable[..., Any]) -> None:
    fill(0.5)
    tokens = (f"token-{i}" for i in count())
    (task,) = store.leases.lease("active", holder="ada", max_tasks=1, duration=QUARTER, now=NOW, token=lambda: next(tokens))
    assert task.status.lease is not None
    assert (task.status.lease.token, task.status.lease.holder) == ("token-0", "ada")
    assert task.status.lease.expires == NOW + QUARTER
    assert task.record == b"record of f000"
    assert task.frame_score == b"score of f000 by g1"
    assert (task.generation, task.place.score, task.crops, task.enqueued) == ("g1", 0.5, 4, NOW)
    assert (task.drive_id, task.tags) == ("drive-1", {"city": "Karlsruhe"})
    assert store.tasks.get("active", "f000", now=NOW) == task


@contextmanager
def statements() -> Iterator[list[tuple[str, Any]]]:
    """Return a list that fills with all that is executed, each with its values."""
    noted: list[tuple[str, Any]] = []

    def note(_conn: Any, _cursor: Any, statement: str, parameters: Any, _context: Any, _many: bool) -> None:
        noted.append((statement, parameters))

    event.listen(Engine, "before_cursor_execute", note)
    try:
        yield noted
    finally:
        event.remove(Engine, "before_cursor_execute", note)


@pytest.mark.parametrize("places", ["sqlite"], indirect=True)
def test_leasing_reads_the_order_from_the_index_and_sorts_nothing(store: Store, place: str, fill: Callable[..., Any]) -> None:
    fill(0.1, 0.2, 0.3)
    with statements() as noted:
        lease(store, 2)
    (query,) = [(text, values) for text, values in noted if "ORDER BY tasks.lease_key" in text]
    with sqlite3.connect(place) as connection:
        plan = [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {query[0]}", query[1])]
    assert plan[0] == "SEARCH tasks USING INDEX waiting_in_order (queue=? AND lease_key<?)"
    assert not any("TEMP B-TREE" in step or "SCAN" in step for step in plan), plan


@pytest.mark.parametrize("places", ["postgresql"], indirect=True)
def test_postgresql_too_leases_from_the_index_and_sorts_nothing(
    store: Store, postgres: Postgres, fill: Callable[..., Any]
) -> None:
    fill(*(i / 2000 for i in range(2000)))
    with statements() as noted:
        lease(store, 2)
    (query,) = [(text, values) for text, values in noted if "ORDER BY tasks.lease_key" in text]
    with postgres.server.connect(STORE) as connection:
        connection.execute("ANALYZE")
        plan = "\n".join(str(row[0]) for row in connection.execute(f"EXPLAIN {query[0]}", query[1]))
    assert "Index Scan using waiting_in_order on tasks" in plan, plan
    assert "Sort" not in plan, plan
    assert "Seq Scan on tasks" not in plan, plan


PLACES = st.tuples(
    st.booleans(),
    st.sampled_from(PriorityBand),
    st.one_of(st.none(), st.integers(0, 3)),
    st.one_of(st.none(), st.floats(0, 10)),
    st.integers(0, 3),
)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(PLACES, min_size=1, max_size=12))
def test_the_database_leases_in_the_order_of_the_pure_function(
    places: Callable[[], AbstractContextManager[str]], entry: Callable[..., Any], rows: list[tuple[Any, ...]]
) -> None:
    wanted = [
        Place(f"f{i:03d}", shuffle, score, rank, band, pinned) for i, (pinned, band, rank, score, shuffle) in enumerate(rows)
    ]
    with places() as place, Store.open(place, passed_over_at_most=len(wanted)) as store:
        entries = [entry(i + 1, place.score, shuffle=place.shuffle) for i, place in enumerate(wanted)]
        store.intake.apply(entries, log="log", after=0, position=len(entries), now=NOW)
        engine = create_engine(url_of(place))
        with engine.begin() as connection:  # pins and bands are set by a later step
            for p in wanted:
                values = {"pinned": p.pinned, "band": int(p.band), "rank": p.rank_in_epoch, "lease_key": p.key()}
                connection.execute(update(tasks).where(tasks.c.frame_id == p.frame_id).values(values))
        engine.dispose()
        leased = lease(store, len(wanted))
    assert [task.place for task in leased] == sorted(wanted, key=Place.order)


def test_an_empty_queue_leases_nothing_and_an_unknown_one_is_not_found(store: Store) -> None:
    assert lease(store) == ()
    with pytest.raises(NotFound, match="queue elsewhere"):
        store.leases.lease("elsewhere", holder="ada", max_tasks=1, duration=QUARTER, now=NOW)


@pytest.mark.parametrize(("max_tasks", "minutes", "field"), [(0, 15, "max_tasks"), (1, 0, "lease_duration")])
def test_a_lease_of_nothing_or_for_no_time_is_refused(
    store: Store, fill: Callable[..., Any], max_tasks: int, minutes: int, field: str
) -> None:
    fill(0.1)
    with pytest.raises(InvalidArgument, match=field):
        store.leases.lease("active", holder="ada", max_tasks=max_tasks, duration=timedelta(minutes=minutes), now=NOW)
    assert store.tasks.get("active", "f000", now=NOW).state is TaskState.WAITING


def test_a_renewed_lease_outlives_its_first_end(store: Store, fill: Callable[..., Any]) -> None:
    fill(0.1)
    (task,) = lease(store)
    later = NOW + timedelta(minutes=14)
    renewed = store.leases.renew("active", "f000", token_of(task), subject="ada", duration=QUARTER, now=later)
    assert renewed.status.lease is not None
    assert renewed.status.lease.expires == later + QUARTER
    assert lease(store, now=NOW + QUARTER) == ()


def test_an_acknowledgement_stores_the_labels_and_closes_the_task(store: Store, fill: Callable[..., Any]) -> None:
    fill(0.1)
    (task,) = lease(store)
    labels = FrameLabels("f000", (CAR,), time_spent=timedelta(seconds=90), prelabel_generation="g1")
    closed = store.leases.acknowledge("active", "f000", token_of(task), labels, subject="ada", now=NOW)
    assert closed.state is TaskState.ACKNOWLEDGED
    found = store.labels.get("f000")
    assert found.labels == labels
    assert (found.labeller, found.label_time, found.queue, found.control) == ("ada", NOW, "active", False)
    assert found.record == b"record of f000"


def test_the_same_acknowledgement_again_changes_nothing(store: Store, fill: Callable[..., Any]) -> None:
    fill(0.1)
    (task,) = lease(store)
    labels = FrameLabels("f000", (CAR,))
    first = store.leases.acknowledge("active", "f000", token_of(task), labels, subject="ada", now=NOW)
    kept, events = store.labels.get("f000"), store.audit.list()
    tomorrow = NOW + timedelta(days=1)
    again = store.leases.acknowledge("active", "f000", token_of(task), labels, subject="ada", now=tomorrow)
    assert again == first
    assert store.labels.get("f000") == kept
    assert store.audit.list() == events


def test_other_labels_under_the_token_of_an_acknowledgement_are_refused_not_lost(
    store: Store, fill: Callable[..., Any]
) -> None:
    fill(0.1)
    (task,) = lease(store)
    store.leases.acknowledge("active", "f000", token_of(task), FrameLabels("f000", (CAR,)), subject="ada", now=NOW)
    with pytest.raises(WrongState, match="other labels"):
        store.leases.acknowledge("active", "f000", token_of(task), FrameLabels("f000"), subject="ada", now=NOW)
    assert store.labels.get("f000").labels.labels == (CAR,)


def test_labels_of_another_frame_are_refused(store: Store, fill: Callable[..., Any]) -> None:
    fill(0.1)
    (task,) = lease(store)
    with pytest.raises(InvalidArgument, match=r"labels\.frame_id"):
        store.leases.acknowledge("active", "f000", token_of(task), FrameLabels("f001"), subject="ada", now=NOW)
    assert store.tasks.get("active", "f000", now=NOW).state is TaskState.LEASED


def test_a_stale_token_changes_nothing_whatever_it_is_used_for(store: Store, fill: Callable[..., Any]) -> None:
    fill(0.1)
    (task,) = lease(store)
    late, stale = NOW + QUARTER, token_of(task)
    (taken,) = lease(store, now=late, holder="bob")
    with pytest.raises(StaleLease):
        store.leases.renew("active", "f000", stale, subject="ada", duration=QUARTER, now=late)
    with pytest.raises(StaleLease):
        store.leases.acknowledge("active", "f000", stale, FrameLabels("f000"), subject="ada", now=late)
    with pytest.raises(StaleLease):
        store.leases.skip("active", "f000", stale, reason="other", subject="ada", now=late)
    with pytest.raises(StaleLease):
        store.leases.release("active", "f000", stale, subject="ada", now=late)
    assert store.tasks.get("active", "f000", now=late) == taken
    with pytest.raises(NotFound):
        store.labels.get("f000")


def test_a_token_is_stale_at_its_end_although_nobody_took_the_task(store: Store, fill: Callable[..., Any]) -> None:
    fill(0.1)
    (task,) = lease(store)
    with pytest.raises(StaleLease, match="expired"):
        store.leases.acknowledge("active", "f000", token_of(task), FrameLabels("f000"), subject="ada", now=NOW + QUARTER)


def test_an_acknowledgement_under_another_token_than_the_first_is_stale(store: Store, fill: Callable[..., Any]) -> None:
    fill(0.1)
    (task,) = lease(store)
    store.leases.acknowledge("active", "f000", token_of(task), FrameLabels("f000"), subject="ada", now=NOW)
    with pytest.raises(StaleLease):
        store.leases.acknowledge("active", "f000", "another", FrameLabels("f000"), subject="ada", now=NOW)


def test_a_released_task_is_leased_next_and_no_lease_has_failed(store: Store, fill: Callable[..., Any]) -> None:
    fill(0.2, 0.1)
    (task,) = lease(store)
    released = store.leases.release("active", "f000", token_of(task), subject="ada", now=NOW)
    assert (released.state, released.status.failed_leases) == (TaskState.WAITING, 0)
    assert [again.frame_id for again in lease(store)] == ["f000"]


def test_a_skipped_task_keeps_reason_and_comment_and_is_not_leased_again(store: Store, fill: Callable[..., Any]) -> None:
    fill(0.1)
    (task,) = lease(store)
    skip: dict[str, Any] = {"reason": "other", "comment": "a mirror", "subject": "ada"}
    skipped = store.leases.skip("active", "f000", token_of(task), **skip, now=NOW)
    assert (skipped.state, skipped.skip_reason, skipped.skip_comment) == (TaskState.SKIPPED, "other", "a mirror")
    assert store.leases.skip("active", "f000", token_of(task), **skip, now=NOW + timedelta(days=1)) == skipped
    assert store.tasks.get("active", "f000", now=NOW) == skipped
    assert lease(store) == ()


def test_a_skip_without_a_reason_is_refused(store: Store, fill: Callable[..., Any]) -> None:
    fill(0.1)
    (task,) = lease(store)
    with pytest.raises(InvalidArgument, match="reason"):
        store.leases.skip("active", "f000", token_of(task), reason="", subject="ada", now=NOW)


def test_leases_that_expire_too_often_make_a_dead_letter(store: Store, fill: Callable[..., Any]) -> None:
    fill(0.2, 0.1)
    now = NOW
    for failed in range(3):
        (task,) = lease(store, now=now)
        assert (task.frame_id, task.status.failed_leases) == ("f000", failed)
        now += QUARTER
    (next_task,) = lease(store, now=now)
    assert next_task.frame_id == "f001"
    dead = store.tasks.get("active", "f000", now=now)
    assert (dead.state, dead.status.failed_leases) == (TaskState.DEAD_LETTER, 3)


def test_an_unknown_task_is_not_found(store: Store, fill: Callable[..., Any]) -> None:
    fill(0.1)
    with pytest.raises(NotFound, match="task f009 in queue active"):
        store.leases.release("active", "f009", "token", subject="ada", now=NOW)
    with pytest.raises(NotFound):
        store.leases.release("control", "f000", "token", subject="ada", now=NOW)
