"""From a fleet log into the queues."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import create_engine, delete

from quandary.errors import Aborted, InvalidArgument
from quandary_server.leasing.status import TaskState
from quandary_server.storage import Store
from quandary_server.storage.intake import Applied
from quandary_server.storage.opening import url_of
from quandary_server.storage.schema import offsets
from quandary_server.storage.task_values import RejectedEntry, TaskEntry

NOW = datetime(2026, 1, 1, 12, 0, tzinfo=UTC)
LATER = NOW + timedelta(minutes=5)
MakeEntry = Callable[..., TaskEntry]


def apply(store: Store, *entries: TaskEntry | RejectedEntry, after: int = 0, now: datetime = NOW) -> Applied:
    position = max((entry.position for entry in entries), default=after + 1)
    return store.intake.apply(entries, log="log", after=after, position=position, now=now)


def test_entries_become_waiting_tasks_and_the_offset_moves_with_them(store: Store, entry: MakeEntry) -> None:
    assert store.intake.offset("log") == 0
    assert apply(store, entry(1, 0.5), entry(2)) == Applied(added=2, refreshed=0, unchanged=0, rejected=0)
    assert store.intake.offset("log") == 2
    scored, unscored = store.tasks.list("active", now=NOW).items
    assert (scored.frame_id, scored.state, scored.place.score, scored.generation) == ("f000", TaskState.WAITING, 0.5, "g1")
    assert (unscored.place.score, unscored.generation, unscored.frame_score) == (None, "", None)
    assert (unscored.enqueued, unscored.place.rank, unscored.status.failed_leases) == (NOW, None, 0)


def test_a_stretch_of_the_log_without_entries_moves_the_offset(store: Store) -> None:
    store.intake.apply([], log="log", after=0, position=7, now=NOW)
    assert store.intake.offset("log") == 7
    assert store.intake.offset("other") == 0


def test_whoever_applies_from_another_offset_is_refused_whole(store: Store, entry: MakeEntry) -> None:
    apply(store, entry(1, 0.5), entry(2, 0.4))
    for after, position in ((0, 2), (1, 5), (3, 4)):
        with pytest.raises(Aborted, match="offset of log log is 2"):
            store.intake.apply([entry(position, 0.9)], log="log", after=after, position=position, now=NOW)
    assert store.intake.offset("log") == 2
    assert [task.place.score for task in store.tasks.list("active", now=NOW).items] == [0.5, 0.4]


@pytest.mark.parametrize(("after", "position"), [(2, 2), (2, 1), (-1, 3)])
def test_an_offset_never_moves_backwards(store: Store, entry: MakeEntry, after: int, position: int) -> None:
    apply(store, entry(1, 0.5), entry(2, 0.4))
    with pytest.raises(InvalidArgument, match="position"):
        store.intake.apply([], log="log", after=after, position=position, now=NOW)


@pytest.mark.parametrize("positions", [(0, 1), (1, 1), (2, 1), (1, 4)])
def test_positions_outside_the_stretch_or_out_of_order_are_refused(
    store: Store, entry: MakeEntry, positions: Sequence[int]
) -> None:
    entries = [entry(position, 0.5, frame_id=f"f{i}") for i, position in enumerate(positions)]
    with pytest.raises(InvalidArgument, match=r"entries\[\d\]\.position"):
        store.intake.apply(entries, log="log", after=0, position=3, now=NOW)
    assert store.tasks.list("active", now=NOW).items == ()


def test_a_frame_logged_again_takes_the_new_score_while_it_waits(store: Store, entry: MakeEntry) -> None:
    apply(store, entry(1, 0.5), entry(2, 0.4))
    again = entry(3, 0.1, frame_id="f000", generation="g2", record=b"new record", crops=9)
    assert apply(store, again, after=2, now=LATER) == Applied(added=0, refreshed=1, unchanged=0, rejected=0)
    first, second = store.tasks.list("active", now=LATER).items
    assert (first.frame_id, second.frame_id) == ("f001", "f000")
    assert (second.place.score, second.generation, second.frame_score) == (0.1, "g2", b"score of f000 by g2")
    assert (second.record, second.crops) == (b"new record", 9)
    assert second.enqueued == NOW


def test_a_repeat_keeps_rank_and_failed_leases(store: Store, entry: MakeEntry) -> None:
    apply(store, entry(1, 0.5))
    store.leases.lease("active", holder="ada", max_tasks=1, duration=LATER - NOW, now=NOW)
    store.ranking.write_ranks("active", ["f000"], now=LATER)
    apply(store, entry(2, 0.9, frame_id="f000"), after=1, now=LATER)
    task = store.tasks.get("active", "f000", now=LATER)
    assert (task.place.rank, task.place.score, task.status.failed_leases) == (0, 0.9, 1)


def test_a_repeat_without_a_score_takes_none_away(store: Store, entry: MakeEntry) -> None:
    apply(store, entry(1, 0.5))
    before = store.tasks.get("active", "f000", now=NOW)
    assert apply(store, entry(2, frame_id="f000", record=b"other"), after=1).unchanged == 1
    assert store.tasks.get("active", "f000", now=NOW) == before


def test_a_repeat_changes_nothing_that_a_labeller_holds_or_closed(store: Store, entry: MakeEntry) -> None:
    apply(store, entry(1, 0.5), entry(2, 0.4))
    leased, skipped = store.leases.lease("active", holder="ada", max_tasks=2, duration=timedelta(hours=1), now=NOW)
    assert skipped.status.lease is not None
    skipped = store.leases.skip("active", "f001", skipped.status.lease.token, reason="other", subject="ada", now=NOW)
    repeats = (entry(3, 0.9, frame_id="f000", record=b"x"), entry(4, 0.9, frame_id="f001", record=b"x"))
    assert apply(store, *repeats, after=2) == Applied(added=0, refreshed=0, unchanged=2, rejected=0)
    assert store.tasks.get("active", "f000", now=NOW) == leased
    assert store.tasks.get("active", "f001", now=NOW) == skipped


def test_an_expired_lease_is_no_hindrance(store: Store, entry: MakeEntry) -> None:
    apply(store, entry(1, 0.5))
    store.leases.lease("active", holder="ada", max_tasks=1, duration=LATER - NOW, now=NOW)
    assert apply(store, entry(2, 0.9, frame_id="f000"), after=1, now=LATER).refreshed == 1


def test_the_last_of_several_entries_of_a_frame_in_one_batch_counts(store: Store, entry: MakeEntry) -> None:
    applied = apply(store, entry(1, 0.5), entry(2, 0.7, frame_id="f000"), entry(3, frame_id="f000"))
    assert applied == Applied(added=1, refreshed=0, unchanged=1, rejected=0)
    assert store.tasks.get("active", "f000", now=NOW).place.score == 0.7


def test_a_frame_claimed_for_another_drive_is_rejected_with_the_reason(store: Store, entry: MakeEntry) -> None:
    apply(store, entry(1, 0.5))
    foreign = entry(2, 0.9, frame_id="f000", drive_id="drive-2", queue="control")
    assert apply(store, foreign, after=1).rejected == 1
    assert store.tasks.list("control", now=NOW).items == ()
    (rejected,) = store.intake.rejected("log").items
    assert rejected == RejectedEntry(2, rejected.reason, b"record of f000", "f000")
    assert "drive-1" in rejected.reason


def test_a_known_drive_keeps_its_queue_whatever_the_setting_says_now(store: Store, entry: MakeEntry) -> None:
    apply(store, entry(1, 0.5), entry(2, drive_id="kept", queue="control"))
    changed = (
        entry(3, frame_id="f000", queue="control", record=b"again"),
        entry(4, frame_id="new", queue="control"),
        entry(5, 0.9, frame_id="f001", drive_id="kept"),
        entry(6, 0.9, frame_id="new-too", drive_id="kept"),
    )
    assert apply(store, *changed, after=2) == Applied(added=2, refreshed=1, unchanged=1, rejected=0)
    active, control = (store.tasks.list(queue, now=NOW).items for queue in ("active", "control"))
    assert [(task.frame_id, task.place.score) for task in active] == [("f000", 0.5), ("new", None)]
    assert {task.frame_id for task in control} == {"f001", "new-too"}
    assert {(task.place.score, task.generation, task.frame_score) for task in control} == {(None, "", None)}


def test_each_new_frame_of_a_drive_goes_where_its_entry_asks_for_and_stays_there(store: Store, entry: MakeEntry) -> None:
    apply(store, entry(1, 0.5, drive_id="mine", queue="night"), entry(2, 0.4, drive_id="mine"))
    again = (entry(3, 0.6, frame_id="f000", drive_id="mine", queue="day"), entry(4, 0.3, drive_id="mine", queue="night"))
    assert apply(store, *again, after=2) == Applied(added=1, refreshed=1, unchanged=0, rejected=0)
    assert [(task.frame_id, task.place.score) for task in store.tasks.list("night", now=NOW).items] == [
        ("f000", 0.6),
        ("f003", 0.3),
    ]
    assert [task.frame_id for task in store.tasks.list("active", now=NOW).items] == ["f001"]
    assert store.tasks.queues() == ("active", "control", "night")


def test_what_is_kept_from_the_control_drives_goes_to_its_ranked_queue(store: Store, entry: MakeEntry) -> None:
    apply(store, entry(1, 0.5, queue="night"), entry(2, drive_id="kept", queue="control"))
    asking = replace(entry(3, queue="control"), ranked_queue="night")
    kept = entry(4, 0.9, drive_id="kept", queue="night")
    apply(store, asking, kept, after=2)
    assert [task.frame_id for task in store.tasks.list("night", now=NOW).items] == ["f000", "f002"]
    assert {task.frame_id for task in store.tasks.list("control", now=NOW).items} == {"f001", "f003"}


def test_queues_are_there_before_their_first_task_where_they_are_declared(store: Store) -> None:
    for _ in range(2):
        store.intake.declare(["night", "active"])
        assert store.tasks.queues() == ("active", "control", "night")
    assert store.tasks.list("night", now=NOW).items == ()
    with pytest.raises(InvalidArgument, match="queue is 'a b'"):
        store.intake.declare(["a b"])


def test_rejected_entries_are_kept_in_order_and_by_page(store: Store, entry: MakeEntry) -> None:
    rejects = [RejectedEntry(i, f"reason {i}", bytes([i]), frame_id="") for i in (1, 2, 4)]
    apply(store, rejects[0], rejects[1], entry(3, 0.5), rejects[2])
    first = store.intake.rejected("log", page_size=2)
    second = store.intake.rejected("log", page_size=2, page_token=first.next_token)
    assert [*first.items, *second.items] == rejects
    assert second.next_token == ""
    assert store.tasks.stats("active", generation="g1", now=NOW).rejected == 3


def test_what_is_rejected_again_of_a_log_that_was_set_back_takes_the_place_of_what_was(
    store: Store, place: str, entry: MakeEntry
) -> None:
    apply(store, RejectedEntry(1, "before", b"x"), entry(2))
    engine = create_engine(url_of(place))
    with engine.begin() as connection:  # as an operator does who wants all of a log read anew
        connection.execute(delete(offsets))
    engine.dispose()
    apply(store, RejectedEntry(1, "now", b"y"), entry(2))
    assert [(found.position, found.reason) for found in store.intake.rejected("log").items] == [(1, "now")]


def test_the_last_that_were_rejected_are_found_whatever_their_log(store: Store) -> None:
    for log, position, now in (("a", 1, NOW), ("b", 7, LATER), ("a", 3, LATER)):
        entry = RejectedEntry(position, "wrong", b"x" * position, "f1")
        store.intake.apply([entry], log=log, after=store.intake.offset(log), position=position, now=now)
    found = store.intake.last_rejected(2)
    assert [(one.log, one.position, one.time, one.payload_bytes) for one in found] == [("a", 3, LATER, 3), ("b", 7, LATER, 7)]


def test_queues_come_into_being_with_their_first_task(store: Store, entry: MakeEntry) -> None:
    assert store.tasks.queues() == ("active", "control")
    apply(store, entry(1, 0.5, queue="night"))
    assert store.tasks.queues() == ("active", "control", "night")


@pytest.mark.parametrize(
    ("field", "wrong"),
    [
        ("score", {"score": float("nan"), "generation": "g1"}),
        ("score", {"score": -0.1, "generation": "g1"}),
        ("generation", {"score": 0.5}),
        ("score", {"generation": "g1"}),
        ("score", {"frame_score": b"bytes"}),
        ("frame_id", {"frame_id": "a/b"}),
        ("queue", {"queue": ""}),
        ("ranked_queue", {"ranked_queue": "a/b"}),
        ("drive_id", {"drive_id": ".."}),
        ("crops", {"crops": -1}),
        ("shuffle", {"shuffle": -1}),
    ],
)
def test_an_entry_that_makes_no_task_is_refused_by_field(field: str, wrong: dict[str, Any]) -> None:
    right = {"position": 1, "queue": "active", "frame_id": "f", "drive_id": "d", "stamp": NOW}
    with pytest.raises(InvalidArgument) as caught:
        TaskEntry(**{**right, "record": b"", "crops": 1, "shuffle": 0, **wrong})
    assert caught.value.violations[0].field == field


def test_a_time_without_a_zone_is_refused(store: Store, entry: MakeEntry) -> None:
    with pytest.raises(InvalidArgument, match="time zone"):
        apply(store, entry(1, 0.5), now=datetime(2026, 1, 1))
    assert store.intake.offset("log") == 0


def test_what_is_rejected_is_logged_once_it_is_kept(store: Store, entry: MakeEntry, caplog: pytest.LogCaptureFixture) -> None:
    apply(store, entry(1, 0.5, frame_id="mine"))
    broken = RejectedEntry(3, "the payload is no FrameRecord", b"", "broken")
    with caplog.at_level(logging.WARNING):
        with pytest.raises(Aborted):
            apply(store, entry(9, frame_id="mine", drive_id="other"), after=8)
        assert "record_rejected" not in caplog.text
        apply(store, entry(2, frame_id="mine", drive_id="other"), broken, after=1)
    assert "record_rejected position=2 frame=mine problem=frame_id is mine, which is known as a frame of drive" in caplog.text
    assert "record_rejected position=3 frame=broken problem=the payload is no FrameRecord" in caplog.text
