"""Pauses in closed form, with chance at its ends."""

from datetime import timedelta

import pytest

from quandary.errors import Internal, Overloaded, QuandaryError, TooLarge, Unavailable
from quandary.patience import Patience, Resumption


def low() -> float:
    return 0.0


def high() -> float:
    return 1.0


def overloaded(seconds: float) -> Overloaded:
    return Overloaded("full", retry_after=timedelta(seconds=seconds))


def test_an_overloaded_call_comes_back_when_told_and_a_growing_random_part_later() -> None:
    told, latest = Patience(1000.0, low), Patience(1000.0, high)
    assert [told.pause_s(overloaded(0.5), 0.0) for _ in range(3)] == [0.5] * 3
    assert [latest.pause_s(overloaded(0.5), 0.0) for _ in range(3)] == pytest.approx([0.51, 0.52, 0.54])
    for _ in range(5000):
        longest = latest.pause_s(overloaded(0.5), 0.0)
    assert longest == pytest.approx(1.5)


def test_an_overloaded_call_gives_up_at_once_where_its_time_ends_before_it_may_come_back() -> None:
    patience = Patience(10.0, low)
    assert patience.left_s(4.0) == 6.0
    assert patience.pause_s(overloaded(5.9), 4.0) == 5.9
    with pytest.raises(Overloaded, match="full"):
        patience.pause_s(overloaded(6.0), 4.0)
    with pytest.raises(Overloaded, match="no time"):
        patience.pause_s(Overloaded("no time named"), 4.0)


def test_a_broken_stream_is_resumed_after_pauses_that_grow_and_begin_anew_with_each_answer() -> None:
    resumption = Resumption(1000.0, None, lambda: 0.5)
    assert [resumption.pause_s(Unavailable("gone"), 0.0) for _ in range(6)] == pytest.approx([0.1, 0.4, 1.6, 5.0, 5.0, 5.0])
    resumption.note_answer()
    assert resumption.pause_s(Unavailable("gone"), 0.0) == pytest.approx(0.1)


def test_pauses_are_spread_by_a_fifth() -> None:
    spread = [Resumption(1000.0, None, chance).pause_s(Unavailable("gone"), 0.0) for chance in (low, high)]
    assert spread == pytest.approx([0.08, 0.12])


def test_an_overloaded_stream_is_resumed_when_told() -> None:
    assert Resumption(1000.0, None, low).pause_s(overloaded(3.0), 0.0) == 3.0


@pytest.mark.parametrize("final", [Internal("broken"), TooLarge("too large"), Overloaded("no time named"), QuandaryError("?")])
def test_what_another_call_would_meet_again_is_final(final: QuandaryError) -> None:
    with pytest.raises(type(final)) as error:
        Resumption(1000.0, None, low).pause_s(final, 0.0)
    assert error.value is final


def test_a_stream_gives_up_when_no_answer_has_come_for_so_long() -> None:
    resumption = Resumption(10.0, None, lambda: 0.5)
    assert resumption.pause_s(Unavailable("gone"), 100.0) == pytest.approx(0.1)
    assert resumption.pause_s(Unavailable("gone"), 108.0) == pytest.approx(0.4)
    with pytest.raises(Unavailable):
        resumption.pause_s(Unavailable("gone"), 109.0)
    resumption.note_answer()
    assert resumption.pause_s(Unavailable("gone"), 200.0) == pytest.approx(0.1)


def test_a_stream_that_may_not_be_resumed_ends_at_the_first_break() -> None:
    with pytest.raises(Unavailable):
        Resumption(0.0, None, low).pause_s(Unavailable("gone"), 0.0)


def test_no_pause_goes_beyond_the_streams_deadline() -> None:
    resumption = Resumption(1000.0, 50.0, lambda: 0.5)
    assert resumption.left_s(20.0) == 30.0
    assert Resumption(1000.0, None, low).left_s(20.0) is None
    assert resumption.pause_s(Unavailable("gone"), 49.0) == pytest.approx(0.1)
    with pytest.raises(Unavailable):
        resumption.pause_s(Unavailable("gone"), 49.7)


def test_pauses_stay_finite_however_often_a_stream_breaks() -> None:
    resumption = Resumption(1e9, None, high)
    assert max(resumption.pause_s(Unavailable("gone"), 0.0) for _ in range(5000)) == pytest.approx(6.0)
