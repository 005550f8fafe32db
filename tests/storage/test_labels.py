"""The labels of a store."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import create_engine, insert, select

from quandary.errors import InvalidArgument, NotFound, StaleLease
from quandary.geometry import Box3D, ImageBox
from quandary.labels import LABEL_CLASSES, FrameLabels, Label
from quandary_server.leasing.events import Action
from quandary_server.leasing.status import TaskState
from quandary_server.storage import Store
from quandary_server.storage.label_values import LabelCounts, Submitted, frame_labels_from, frame_labels_json
from quandary_server.storage.opening import url_of
from quandary_server.storage.schema import queues, tasks

NOW = datetime(2026, 1, 1, 12, 0, tzinfo=UTC)
LATER = NOW + timedelta(hours=1)
QUARTER = timedelta(minutes=15)
CAR = Label("Car", Box3D(10, 2, -1, 4, 1.6, 1.5, 0.1))
WALKER = Label("Pedestrian", Box3D(8.25, -2, -1, 0.8, 0.6, 1.75, -3), truncation=0.25, occlusion=2)


def test_imported_labels_close_the_tasks_that_wait(store: Store, fill: Callable[..., Any]) -> None:
    fill(0.3, 0.2, 0.1)
    labels = FrameLabels("f001", (CAR, WALKER), (ImageBox(0, 0, 10, 5),), timedelta(seconds=61.5), "g1")
    assert store.labels.submit([FrameLabels("f000"), labels], labeller="eve", now=NOW) == Submitted(2, 0)
    found = store.labels.get("f001")
    assert found.labels == labels
    assert (found.labeller, found.label_time, found.queue, found.drive_id) == ("eve", NOW, "active", "drive-1")
    assert (found.crops, found.record) == (4, b"record of f001")
    states = [store.tasks.get("active", f"f00{i}", now=NOW).state for i in range(3)]
    assert states == [TaskState.ACKNOWLEDGED, TaskState.ACKNOWLEDGED, TaskState.WAITING]
    imported = [(event.action, event.subject, event.frame_id) for event in store.audit.list().items]
    assert imported == [(Action.IMPORT, "eve", "f000"), (Action.IMPORT, "eve", "f001")]


def test_the_same_labels_again_change_nothing(store: Store, fill: Callable[..., Any]) -> None:
    fill(0.3, 0.2)
    store.labels.submit([FrameLabels("f000", (CAR,))], labeller="eve", now=NOW)
    first = store.labels.get("f000")
    same = [FrameLabels("f000", (CAR,)), FrameLabels("f001")]
    assert store.labels.submit(same, labeller="mallory", now=LATER) == Submitted(stored=1, unchanged=1)
    assert store.labels.get("f000") == first
    assert len(store.audit.list(task=("active", "f000")).items) == 1


def test_later_labels_replace_earlier_ones_and_the_audit_keeps_both(store: Store, fill: Callable[..., Any]) -> None:
    fill(0.3, 0.2)
    store.labels.submit([FrameLabels("f000", (CAR,)), FrameLabels("f001")], labeller="eve", now=NOW)
    assert store.labels.submit([FrameLabels("f000", (WALKER,))], labeller="bob", now=LATER) == Submitted(1, 0, replaced=1)
    found = store.labels.get("f000")
    assert (found.labels.labels, found.labeller, found.label_time) == ((WALKER,), "bob", LATER)
    assert [event.subject for event in store.audit.list(task=("active", "f000")).items] == ["eve", "bob"]
    assert [frame.frame_id for frame in store.labels.all()] == ["f001", "f000"]


def test_an_import_is_stored_whole_or_not_at_all(store: Store, fill: Callable[..., Any]) -> None:
    fill(0.3)
    with pytest.raises(NotFound, match="f008, f009"):
        store.labels.submit([FrameLabels(f) for f in ("f000", "f008", "f009")], labeller="eve", now=NOW)
    with pytest.raises(NotFound):
        store.labels.get("f000")
    assert store.tasks.get("active", "f000", now=NOW).state is TaskState.WAITING


def test_a_frame_given_twice_is_refused_by_its_index(store: Store, fill: Callable[..., Any]) -> None:
    fill(0.3)
    with pytest.raises(InvalidArgument, match=r"frames\[1\]\.frame_id"):
        store.labels.submit([FrameLabels("f000"), FrameLabels("f000", (CAR,))], labeller="eve", now=NOW)


def test_labels_end_the_lease_of_whoever_is_at_work_who_hears_of_it_and_replaces_nothing(
    store: Store, fill: Callable[..., Any]
) -> None:
    fill(0.3)
    (task,) = store.leases.lease("active", holder="ada", max_tasks=1, duration=QUARTER, now=NOW)
    theirs, mine = FrameLabels("f000", (CAR,)), FrameLabels("f000", (WALKER,))
    store.labels.submit([theirs], labeller="eve", now=NOW)
    assert task.status.lease is not None
    told = "acknowledged: eve labelled f000 at 2026-01-01 12:00:00[+]00:00; to replace those labels, submit yours"
    token = task.status.lease.token
    with pytest.raises(StaleLease, match=told):
        store.leases.acknowledge("active", "f000", token, mine, subject="ada", now=LATER)
    with pytest.raises(StaleLease, match=told):
        store.leases.renew("active", "f000", token, subject="ada", duration=QUARTER, now=LATER)
    assert (store.labels.get("f000").labels, store.labels.get("f000").labeller) == (theirs, "eve")
    *_, imported = store.audit.list().items
    assert (imported.action, imported.details) == (Action.IMPORT, {"ended_lease_of": "ada"})
    store.labels.submit([mine], labeller="ada", now=LATER)
    assert store.labels.get("f000").labels == mine


def test_an_acknowledgement_closes_the_tasks_that_the_frame_has_in_other_queues(
    store: Store, fill: Callable[..., Any], place: str
) -> None:
    fill(0.3, 0.2)
    put_into_second_queue(place, "f000", "f001")
    first, second = (
        store.leases.lease(queue, holder=holder, max_tasks=1, duration=QUARTER, now=NOW)[0]
        for queue, holder in (("active", "ada"), ("second", "bob"))
    )
    assert first.frame_id == second.frame_id == "f000"
    assert first.status.lease is not None
    assert second.status.lease is not None
    theirs = FrameLabels("f000", (CAR,))
    store.leases.acknowledge("active", "f000", first.status.lease.token, theirs, subject="ada", now=NOW)
    assert store.tasks.get("second", "f000", now=NOW).state is TaskState.ACKNOWLEDGED
    with pytest.raises(StaleLease, match="ada labelled f000"):
        store.leases.acknowledge("second", "f000", second.status.lease.token, FrameLabels("f000"), subject="bob", now=NOW)
    assert store.labels.get("f000").labels == theirs
    assert store.tasks.get("second", "f001", now=NOW).state is TaskState.WAITING


def test_a_dead_letter_is_closed_by_labels_and_a_skipped_task_is_not(store: Store, fill: Callable[..., Any]) -> None:
    fill(0.3, 0.2)
    now = NOW
    for _ in range(3):
        store.leases.lease("active", holder="ada", max_tasks=1, duration=QUARTER, now=now)
        now += QUARTER
    (task,) = store.leases.lease("active", holder="ada", max_tasks=1, duration=QUARTER, now=now)
    assert (task.frame_id, task.status.lease is not None) == ("f001", True)
    assert task.status.lease is not None
    store.leases.skip("active", "f001", task.status.lease.token, reason="not_allowed", subject="ada", now=now)
    store.labels.submit([FrameLabels("f000"), FrameLabels("f001")], labeller="eve", now=now)
    states = [store.tasks.get("active", name, now=now).state for name in ("f000", "f001")]
    assert states == [TaskState.ACKNOWLEDGED, TaskState.SKIPPED]


def put_into_second_queue(place: str, *frame_ids: str) -> None:
    """Give frames a task in another queue too, as it is in the first."""
    engine = create_engine(url_of(place))
    with engine.begin() as connection:
        connection.execute(insert(queues).values(name="second"))
        rows = connection.execute(select(tasks).where(tasks.c.frame_id.in_(frame_ids))).mappings().all()
        connection.execute(insert(tasks), [{**row, "queue": "second"} for row in rows])
    engine.dispose()


def test_a_task_whose_lease_ran_out_is_closed_by_an_import(store: Store, fill: Callable[..., Any]) -> None:
    fill(0.3)
    store.leases.lease("active", holder="ada", max_tasks=1, duration=QUARTER, now=NOW)
    store.labels.submit([FrameLabels("f000")], labeller="eve", now=NOW + QUARTER)
    assert store.tasks.get("active", "f000", now=NOW + QUARTER).state is TaskState.ACKNOWLEDGED


def test_counts_keep_control_apart_and_can_start_behind_a_sequence(store: Store, fill: Callable[..., Any]) -> None:
    assert store.labels.counts() == LabelCounts(0, 0, 0, 0, sequence=0)
    fill(0.3, 0.2)
    fill(0.1, queue="control")
    store.labels.submit([FrameLabels("f000"), FrameLabels("f002")], labeller="eve", now=NOW)
    counts = store.labels.counts()
    assert counts == LabelCounts(frames=1, crops=4, control_frames=1, control_crops=4, sequence=2)
    assert store.labels.get("f002").control
    store.labels.submit([FrameLabels("f001"), FrameLabels("f000", (CAR,))], labeller="eve", now=LATER)
    assert store.labels.counts(newer_than=counts.sequence) == LabelCounts(2, 8, 0, 0, sequence=4)


def test_labels_of_every_queue_but_that_of_the_control_drives_train(store: Store, fill: Callable[..., Any]) -> None:
    fill(0.3, queue="night")
    (task,) = store.leases.lease("night", holder="ada", max_tasks=1, duration=QUARTER, now=NOW)
    assert task.status.lease is not None
    store.leases.acknowledge("night", "f000", task.status.lease.token, FrameLabels("f000"), subject="ada", now=NOW)
    assert store.labels.counts() == LabelCounts(1, 4, 0, 0, sequence=1)
    assert not store.labels.get("f000").control


def test_the_newest_labels_of_control_drives_come_first(store: Store, fill: Callable[..., Any]) -> None:
    fill(0.3)
    fill(0.2, 0.1, 0.0, queue="control")
    for name in ("f002", "f000", "f003", "f001"):
        store.labels.submit([FrameLabels(name)], labeller="eve", now=NOW)
    assert [frame.frame_id for frame in store.labels.newest_control(2)] == ["f001", "f003"]
    assert [frame.frame_id for frame in store.labels.newest_control(9)] == ["f001", "f003", "f002"]


def test_labels_come_by_page_oldest_first(store: Store, fill: Callable[..., Any]) -> None:
    fill(0.3, 0.2, 0.1)
    for frame_id in ("f002", "f000", "f001"):
        store.labels.submit([FrameLabels(frame_id)], labeller="eve", now=NOW)
    first = store.labels.list(page_size=2)
    second = store.labels.list(page_size=2, page_token=first.next_token)
    assert [frame.frame_id for frame in (*first.items, *second.items)] == ["f002", "f000", "f001"]
    assert second.next_token == ""
    assert store.labels.all() == first.items + second.items


@pytest.mark.parametrize(
    "token", ["WyJsYWJlbHMiLCAiLTEiXQ==", "WyJsYWJlbHMiLCAieCJd", "WyJsYWJlbHMiLCAiOTk5OTk5OTk5OTk5OTk5OTk5OTkiXQ=="]
)
def test_forged_tokens_are_refused(store: Store, token: str) -> None:
    with pytest.raises(InvalidArgument, match="page_token"):
        store.labels.list(page_token=token)


def test_a_frame_without_labels_is_not_found(store: Store, fill: Callable[..., Any]) -> None:
    fill(0.3)
    with pytest.raises(NotFound, match="f000"):
        store.labels.get("f000")


FINITE = st.floats(-900, 900)
EXTENT = st.floats(0.01, 90)
LABELS = st.builds(
    Label,
    st.sampled_from(LABEL_CLASSES),
    st.builds(Box3D, FINITE, FINITE, FINITE, EXTENT, EXTENT, EXTENT, st.floats(-3.14, 3.14)),
    st.one_of(st.none(), st.floats(0, 1)),
    st.one_of(st.none(), st.integers(0, 3)),
)
REGIONS = st.builds(lambda x, y, w, h: ImageBox(x, y, x + w, y + h), FINITE, FINITE, EXTENT, EXTENT)
FRAMES = st.builds(
    FrameLabels,
    st.just("f000"),
    st.lists(LABELS, max_size=3).map(tuple),
    st.lists(REGIONS, max_size=2).map(tuple),
    st.timedeltas(timedelta(0), timedelta(days=30)),
    st.sampled_from(["", "g1"]),
)


@given(FRAMES)
def test_labels_survive_their_json_to_the_last_bit(labels: FrameLabels) -> None:
    assert frame_labels_from("f000", frame_labels_json(labels)) == labels


def test_the_json_can_be_read_by_people() -> None:
    assert frame_labels_json(FrameLabels("f000", (WALKER,)))["labels"] == [
        {
            "class": "Pedestrian",
            "box": {
                "x_m": 8.25,
                "y_m": -2.0,
                "z_m": -1.0,
                "length_m": 0.8,
                "width_m": 0.6,
                "height_m": 1.75,
                "yaw_rad": -3.0,
            },
            "truncation": 0.25,
            "occlusion": 2,
        }
    ]


def test_an_import_of_the_same_labels_keeps_who_gave_them_and_how(store: Store, fill: Callable[..., Any]) -> None:
    fill(0.1)
    told = FrameLabels("f000", (CAR,), time_spent=timedelta(seconds=90), prelabel_generation="g1")
    store.labels.submit([told], labeller="ada", now=NOW)
    bare = FrameLabels("f000", (CAR,))
    assert store.labels.submit([bare], labeller="eve", now=NOW).unchanged == 1
    assert (store.labels.get("f000").labeller, store.labels.get("f000").labels) == ("ada", told)
    again = FrameLabels("f000", (CAR,), time_spent=timedelta(seconds=30))
    assert store.labels.submit([again], labeller="eve", now=NOW).stored == 1
    assert store.labels.submit([FrameLabels("f000")], labeller="eve", now=NOW).stored == 1
