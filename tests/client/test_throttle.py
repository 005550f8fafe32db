"""How many calls go at once, by hand: events that nobody waits for."""

import threading

import pytest

from quandary.throttle import GROWTH, Throttle


@pytest.fixture
def throttle() -> Throttle[threading.Event]:
    return Throttle(threading.Event)


def gone(throttle: Throttle[threading.Event], calls: int) -> int:
    """Ask for calls; return how many of them may go at once."""
    return sum(throttle.ask() is None for _ in range(calls))


def test_all_calls_go_while_none_is_refused(throttle: Throttle[threading.Event]) -> None:
    assert gone(throttle, 1000) == 1000
    for _ in range(1000):
        throttle.note_over(answered=True)
    assert gone(throttle, 1000) == 1000


def test_after_refusals_as_many_go_as_were_not_refused(throttle: Throttle[threading.Event]) -> None:
    assert gone(throttle, 10) == 10
    for _ in range(7):
        throttle.note_refused()
    for _ in range(7):
        throttle.note_returning()
    for _ in range(10):
        throttle.note_over(answered=False)
    assert gone(throttle, 10) == 3


def test_who_waits_goes_in_order_as_others_are_over(throttle: Throttle[threading.Event]) -> None:
    assert gone(throttle, 3) == 3
    throttle.note_refused()
    turns = [throttle.ask() for _ in range(3)]
    assert all(turn is not None for turn in turns)

    def set_turns() -> list[bool]:
        return [turn is not None and turn.is_set() for turn in turns]

    throttle.note_over(answered=False)
    assert set_turns() == [False] * 3
    throttle.note_over(answered=False)
    assert set_turns() == [True, False, False]
    throttle.note_over(answered=False)
    assert set_turns() == [True, True, False]


def test_the_limit_grows_by_a_share_of_one_for_as_many_answers_as_it_lets_go(throttle: Throttle[threading.Event]) -> None:
    assert gone(throttle, 3) == 3
    throttle.note_refused()
    throttle.note_returning()
    throttle.note_over(answered=False)
    answers = 0
    while (turn := throttle.ask()) is not None:
        throttle.give_up(turn)
        throttle.note_over(answered=True)
        assert throttle.ask() is None
        answers += 1
    assert answers == pytest.approx(2 / GROWTH, abs=3)


def test_one_call_goes_whatever_was_refused(throttle: Throttle[threading.Event]) -> None:
    assert gone(throttle, 1) == 1
    throttle.note_refused()
    throttle.note_returning()
    throttle.note_over(answered=False)
    assert gone(throttle, 1) == 1


def test_who_gives_up_leaves_the_place_to_the_next(throttle: Throttle[threading.Event]) -> None:
    assert gone(throttle, 2) == 2
    throttle.note_refused()
    first, second, third = (throttle.ask() for _ in range(3))
    assert first is not None
    assert second is not None
    assert third is not None
    throttle.give_up(second)
    throttle.note_over(answered=False)
    throttle.note_over(answered=False)
    assert (first.is_set(), third.is_set()) == (True, False)
    # too late: its turn had come
    throttle.give_up(first)
    assert third.is_set()
