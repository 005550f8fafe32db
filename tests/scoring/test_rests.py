"""The rests between the steps of loading, by a clock that only the test moves."""

import pytest

from quandary_server.scoring.loading import LONGEST_REST_S, Rests


class Clock:
    """Moves as it is told to, and while somebody sleeps."""

    def __init__(self) -> None:
        self.now_s = 5.0
        self.slept_s: list[float] = []

    def sleep(self, seconds: float) -> None:
        self.slept_s.append(seconds)
        self.now_s += seconds


def test_a_step_is_followed_by_four_times_its_time_and_rests_count_for_none() -> None:
    clock = Clock()
    rest = Rests(lambda: clock.now_s, clock.sleep)
    for step_s in (0.002, 0.003):
        clock.now_s += step_s
        rest()
    assert clock.slept_s == pytest.approx([0.008, 0.012])


def test_no_rest_is_longer_than_a_tenth_of_a_second() -> None:
    clock = Clock()
    rest = Rests(lambda: clock.now_s, clock.sleep)
    clock.now_s += 60.0
    rest()
    assert clock.slept_s == [LONGEST_REST_S] == [0.1]
