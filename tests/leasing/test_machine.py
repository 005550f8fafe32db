"""The state machine of a task, event by event and in any order."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quandary.errors import InvalidArgument, StaleLease, WrongState
from quandary_server.leasing.events import (
    Acknowledge,
    Action,
    Event,
    Expire,
    Grant,
    Import,
    Pin,
    Release,
    Renew,
    Reopen,
    Requeue,
    SetBand,
    Skip,
)
from quandary_server.leasing.machine import TRANSITIONS, move
from quandary_server.leasing.order import PriorityBand
from quandary_server.leasing.status import Lease, TaskState, TaskStatus

NOW = datetime(2026, 1, 1, 12, 0, tzinfo=UTC)
LATER = NOW + timedelta(minutes=5)
END = NOW + timedelta(minutes=15)
WAITING = TaskStatus()


def leased(token: str = "a", failed_leases: int = 0) -> TaskStatus:
    return move(TaskStatus(failed_leases=failed_leases), Grant(Lease(token, "ada", END), NOW))


def test_a_grant_leases_a_waiting_task() -> None:
    assert leased() == TaskStatus(TaskState.LEASED, Lease("a", "ada", END))


def test_a_renewed_lease_ends_later_with_the_same_token() -> None:
    longer = END + timedelta(hours=1)
    assert move(leased(), Renew("a", longer, LATER)).lease == Lease("a", "ada", longer)


@pytest.mark.parametrize(
    ("event", "state"),
    [(Acknowledge("a", LATER), TaskState.ACKNOWLEDGED), (Skip("a", LATER), TaskState.SKIPPED)],
)
def test_a_closed_task_has_no_lease_and_remembers_the_token(event: Event, state: TaskState) -> None:
    assert move(leased(failed_leases=2), event) == TaskStatus(state, None, failed_leases=2, closed_by="a")


def test_a_released_task_waits_and_no_lease_has_failed() -> None:
    assert move(leased(failed_leases=2), Release("a", LATER)) == TaskStatus(failed_leases=2)


def test_an_expired_task_waits_and_one_more_lease_has_failed() -> None:
    assert move(leased(failed_leases=2), Expire(END)) == TaskStatus(failed_leases=3)


def test_the_last_lease_that_may_fail_makes_a_dead_letter() -> None:
    task = leased(failed_leases=2)
    assert move(task, Expire(END), max_failed_leases=4) == TaskStatus(failed_leases=3)
    assert move(task, Expire(END), max_failed_leases=3) == TaskStatus(TaskState.DEAD_LETTER, failed_leases=3)


@pytest.mark.parametrize("requeue", [Requeue.ANYBODY, Requeue.OTHERS])
def test_a_task_skipped_for_others_or_anybody_waits_and_no_lease_has_failed(requeue: Requeue) -> None:
    skipped = move(leased(failed_leases=2), Skip("a", LATER, requeue))
    assert skipped == TaskStatus(TaskState.WAITING, None, failed_leases=2, closed_by="a")


def test_a_skip_that_is_repeated_changes_nothing_whatever_it_names_until_another_lease() -> None:
    skipped = move(leased(), Skip("a", LATER, Requeue.OTHERS))
    for requeue in Requeue:
        assert move(skipped, Skip("a", END + timedelta(days=1), requeue)) == skipped
    again = move(skipped, Grant(Lease("b", "bob", END), LATER))
    assert again.closed_by == ""
    with pytest.raises(StaleLease):
        move(again, Skip("a", LATER, Requeue.OTHERS))
    with pytest.raises(StaleLease):
        move(move(again, Release("b", LATER)), Skip("a", LATER, Requeue.OTHERS))


def test_a_skipped_token_closes_nothing_that_an_import_closed() -> None:
    imported = move(move(leased(), Skip("a", LATER, Requeue.ANYBODY)), Import(LATER))
    with pytest.raises(StaleLease):
        move(imported, Acknowledge("a", LATER))


@pytest.mark.parametrize("event", [Pin(True, NOW), SetBand(PriorityBand.SAFETY, NOW)])
def test_only_a_task_that_waits_changes_its_place(event: Event) -> None:
    assert move(WAITING, event) == WAITING
    for state in (TaskState.ACKNOWLEDGED, TaskState.SKIPPED, TaskState.DEAD_LETTER):
        with pytest.raises(WrongState, match=f"the task is {state}"):
            move(TaskStatus(state), event)
    with pytest.raises(WrongState):
        move(leased(), event)


@pytest.mark.parametrize("status", [WAITING, leased(), TaskStatus(TaskState.DEAD_LETTER)])
def test_an_import_closes_a_task_that_has_no_labels_under_no_token(status: TaskStatus) -> None:
    assert move(status, Import(NOW)) == TaskStatus(TaskState.ACKNOWLEDGED)


def test_a_lease_that_an_import_ended_is_stale_for_all_that_its_holder_may_do() -> None:
    imported = move(leased(), Import(NOW))
    for event in (Renew("a", END, LATER), Acknowledge("a", LATER), Skip("a", LATER), Release("a", LATER)):
        with pytest.raises(StaleLease, match="acknowledged"):
            move(imported, event)


def test_a_task_that_the_last_labeller_skips_for_others_is_a_dead_letter_and_stays_it_when_told_again() -> None:
    skip = Skip("a", LATER, Requeue.OTHERS, others_left=False)
    dead = move(leased(), skip)
    assert dead == TaskStatus(TaskState.DEAD_LETTER, closed_by="a")
    assert move(dead, skip) == dead


@pytest.mark.parametrize("state", [TaskState.SKIPPED, TaskState.DEAD_LETTER])
def test_what_is_requeued_waits_as_if_nothing_had_failed(state: TaskState) -> None:
    assert move(TaskStatus(state, failed_leases=5, closed_by="a"), Reopen(NOW)) == TaskStatus()
    waiting = TaskStatus(failed_leases=2, closed_by="a")
    assert move(waiting, Reopen(NOW)) == waiting


@pytest.mark.parametrize("event_type", [Acknowledge, Skip])
def test_closing_again_with_the_same_token_changes_nothing_even_after_the_lease(
    event_type: type[Acknowledge] | type[Skip],
) -> None:
    closed = move(leased(), event_type("a", LATER))
    assert move(closed, event_type("a", END + timedelta(days=1))) == closed


@pytest.mark.parametrize(
    "event",
    [Renew("b", END, LATER), Acknowledge("b", LATER), Skip("b", LATER), Release("b", LATER), Acknowledge("", LATER)],
)
def test_another_token_is_stale_whatever_the_state(event: Event) -> None:
    acknowledged = move(leased(), Acknowledge("a", LATER))
    imported = move(WAITING, Import(NOW))
    dead = move(leased(), Expire(END), max_failed_leases=1)
    for status in (WAITING, leased(), acknowledged, imported, dead):
        with pytest.raises(StaleLease):
            move(status, event)


@pytest.mark.parametrize(
    "event",
    [Renew("a", END + timedelta(hours=1), END), Acknowledge("a", END), Skip("a", END), Release("a", END)],
)
def test_the_token_is_stale_from_the_end_on_although_nobody_took_the_task(event: Event) -> None:
    with pytest.raises(StaleLease, match="expired at 2026-01-01T12:15"):
        move(leased(), event)


def test_an_acknowledgement_is_in_time_until_just_before_the_end() -> None:
    just_before = END - timedelta(microseconds=1)
    assert move(leased(), Acknowledge("a", just_before)).state is TaskState.ACKNOWLEDGED


@pytest.mark.parametrize(
    ("status", "event"),
    [
        (leased(), Grant(Lease("b", "bob", END), LATER)),
        (leased(), Reopen(LATER)),
        (TaskStatus(TaskState.ACKNOWLEDGED), Reopen(LATER)),
        (TaskStatus(TaskState.SKIPPED), Import(LATER)),
        (leased(), Expire(LATER)),
        (WAITING, Expire(LATER)),
        (TaskStatus(TaskState.DEAD_LETTER), Grant(Lease("b", "bob", END), LATER)),
        (TaskStatus(TaskState.ACKNOWLEDGED, closed_by="a"), Skip("a", LATER)),
        (TaskStatus(TaskState.ACKNOWLEDGED, closed_by="a"), Renew("a", END, LATER)),
        (TaskStatus(TaskState.SKIPPED, closed_by="a"), Acknowledge("a", LATER)),
        (TaskStatus(TaskState.SKIPPED, closed_by="a"), Release("a", LATER)),
    ],
)
def test_what_the_state_does_not_allow_is_refused(status: TaskStatus, event: Event) -> None:
    with pytest.raises(WrongState):
        move(status, event)


def test_a_lease_that_is_over_before_it_begins_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="lease_duration"):
        Grant(Lease("a", "ada", NOW), NOW)
    with pytest.raises(InvalidArgument, match="lease_duration"):
        Renew("a", LATER, END)


TOKENS = st.sampled_from(["a", "b"])
TIMES = st.integers(0, 40).map(lambda minutes: NOW + timedelta(minutes=minutes))
EVENTS = st.one_of(
    st.builds(lambda token, now: Grant(Lease(token, "ada", now + timedelta(minutes=10)), now), TOKENS, TIMES),
    st.builds(lambda token, now: Renew(token, now + timedelta(minutes=10), now), TOKENS, TIMES),
    st.builds(Acknowledge, TOKENS, TIMES),
    st.builds(Skip, TOKENS, TIMES, st.sampled_from(Requeue), st.booleans()),
    st.builds(Release, TOKENS, TIMES),
    st.builds(Expire, TIMES),
    st.builds(Import, TIMES),
    st.builds(Pin, st.booleans(), TIMES),
    st.builds(SetBand, st.sampled_from(PriorityBand), TIMES),
    st.builds(Reopen, TIMES),
)


@given(st.lists(EVENTS, max_size=30))
def test_whatever_happens_every_step_is_in_the_table_and_the_status_is_whole(events: list[Event]) -> None:
    status = WAITING
    for event in events:
        try:
            after = move(status, event, max_failed_leases=3)
        except (StaleLease, WrongState):
            continue
        allowed = {TRANSITIONS[status.state, event.action]}
        if event.action is Action.EXPIRE:
            allowed.add(TaskState.DEAD_LETTER)
        if event.action is Action.SKIP:
            allowed |= {TaskState.WAITING, TaskState.DEAD_LETTER}
        assert after.state in allowed
        assert (after.lease is not None) == (after.state is TaskState.LEASED)
        if event.action is Action.EXPIRE:
            assert after.failed_leases == status.failed_leases + 1
            assert (after.state is TaskState.DEAD_LETTER) == (after.failed_leases == 3)
        elif event.action is Action.REQUEUE and after != status:
            assert after == TaskStatus()
        else:
            assert after.failed_leases == status.failed_leases
        status = after
