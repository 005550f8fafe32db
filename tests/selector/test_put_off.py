"""Frames that could not be scored are tried again: the unread after a while, those at fault by the next generation."""

from datetime import UTC, datetime, timedelta

from quandary_server.selector.put_off import FIRST_WAIT, LONGEST_WAIT, PutOff

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def test_what_could_not_be_read_comes_back_and_what_is_at_fault_stays() -> None:
    put_off = PutOff()
    put_off.until_cleared("torn")
    assert not put_off.come_back(NOW + timedelta(days=9))
    put_off.a_while("away", NOW)
    put_off.a_while("later", NOW + FIRST_WAIT / 2)
    assert all(name in put_off for name in ("away", "later", "torn"))
    assert len(put_off) == 3
    assert not put_off.come_back(NOW + FIRST_WAIT - timedelta(seconds=1))
    assert put_off.come_back(NOW + FIRST_WAIT)
    assert ["away" in put_off, "torn" in put_off, len(put_off)] == [False, True, 1]
    assert not put_off.come_back(NOW + 2 * FIRST_WAIT)
    put_off.clear()
    assert len(put_off) == 0


def test_what_stays_away_is_tried_more_and_more_seldom() -> None:
    put_off, now = PutOff(), NOW
    for wait in [FIRST_WAIT * 2**count for count in range(6)] + [LONGEST_WAIT] * 2:
        put_off.a_while("away", now)
        assert not put_off.come_back(now + wait - timedelta(seconds=1))
        now += wait
        assert put_off.come_back(now)
