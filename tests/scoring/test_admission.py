"""Admission in closed form: calls of one second each, time by hand."""

import pytest

from quandary_server.scoring.admission import LONGEST_RETRY_S, Admission, QueueLimit

TWO = QueueLimit(service_times=2.0, least_s=0.0)


def test_a_call_may_wait_for_two_of_its_kind_and_no_longer() -> None:
    for wait_s, admitted in [(0.0, True), (1.0, True), (2.0, True), (2.01, False)]:
        assert (Admission(TWO).retry_after(0.0, 1.0, wait_s, returning=False) is None) is admitted


def test_large_calls_may_wait_longer_and_small_ones_for_the_least() -> None:
    limit = QueueLimit(2.0, least_s=0.5)
    assert [limit.seconds(work_s) for work_s in (0.01, 0.25, 1.0, 10.0)] == [0.5, 0.5, 2.0, 20.0]


def test_nobody_is_turned_away_while_nothing_waits() -> None:
    assert Admission(QueueLimit(0.0, 0.0)).retry_after(5.0, 1e6, 0.0, returning=False) is None


def test_those_turned_away_are_told_one_time_after_another() -> None:
    """Three seconds wait, half of the queue is one second: the first place is free in two, the next in three, ..."""
    admission = Admission(TWO)
    told = [admission.retry_after(0.0, 1.0, 3.0, returning=False) for _ in range(4)]
    assert told == pytest.approx([2.0, 3.0, 4.0, 5.0])


def test_what_was_told_comes_nearer_as_time_passes() -> None:
    admission = Admission(TWO)
    assert admission.retry_after(0.0, 1.0, 3.0, returning=False) == pytest.approx(2.0)
    assert admission.retry_after(0.5, 1.0, 3.0, returning=False) == pytest.approx(2.5)


def test_newcomers_leave_half_of_the_queue_to_those_who_waited() -> None:
    admission = Admission(TWO)
    admission.retry_after(0.0, 1.0, 2.5, returning=False)
    assert admission.retry_after(1.0, 1.0, 1.5, returning=True) is None
    assert admission.retry_after(1.0, 1.0, 1.5, returning=False) is not None
    assert admission.retry_after(1.0, 1.0, 1.0, returning=False) is None


def test_who_comes_back_in_vain_is_told_another_time_behind_the_others() -> None:
    admission = Admission(TWO)
    assert admission.retry_after(0.0, 1.0, 3.0, returning=False) == pytest.approx(2.0)
    assert admission.retry_after(2.0, 1.0, 2.5, returning=True) == pytest.approx(1.5)
    assert admission.retry_after(2.0, 1.0, 2.5, returning=False) == pytest.approx(2.5)


def test_the_times_told_are_over_by_themselves() -> None:
    admission = Admission(TWO)
    admission.retry_after(0.0, 1.0, 3.0, returning=False)
    assert admission.retry_after(4.0, 1.0, 2.0, returning=False) is None


def test_where_nothing_waits_any_more_those_who_do_not_come_back_are_forgotten() -> None:
    admission = Admission(TWO)
    for _ in range(20):
        admission.retry_after(0.0, 1.0, 3.0, returning=False)
    assert admission.retry_after(4.0, 1.0, 0.0, returning=False) is None
    assert admission.retry_after(4.0, 1.0, 2.0, returning=False) is None


def test_no_time_told_is_longer_than_the_longest_nor_shorter_than_a_quarter_of_the_queue() -> None:
    admission = Admission(TWO)
    told = [admission.retry_after(0.0, 1.0, 3.0, returning=False) for _ in range(100)]
    assert max(t for t in told if t is not None) <= LONGEST_RETRY_S
    soon = Admission(TWO)
    soon.retry_after(0.0, 1.0, 3.0, returning=False)
    assert soon.retry_after(4.0 - 1e-9, 1.0, 1.0 + 1e-6, returning=False) == pytest.approx(0.5)
