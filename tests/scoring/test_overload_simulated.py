"""What admission and the client's patience make of overload together, in simulated time: no machine's pace is in it."""

import pytest
from support.simulated import WORK_S, Simulation

from quandary_server.scoring.admission import Admission, QueueLimit

SECONDS = 60.0
SERVABLE = SECONDS / WORK_S


@pytest.fixture
def simulation() -> Simulation:
    return Simulation(Admission(QueueLimit(service_times=2.0, least_s=0.005)), SECONDS)


def test_as_many_callers_as_keep_it_busy_are_never_refused(simulation: Simulation) -> None:
    for _ in range(3):
        simulation.caller(begin_s=0.0, interval_s=0.0, timeout_s=30.0)
    outcome = simulation.run()
    assert len(outcome.calls) > 0.99 * SERVABLE
    assert outcome.refused < 0.05 * len(outcome.calls)


def test_sixteen_callers_get_their_turns_in_time_and_none_is_left_behind(simulation: Simulation) -> None:
    for k in range(16):
        simulation.caller(begin_s=k * 0.003, interval_s=0.0, timeout_s=30.0)
    outcome = simulation.run()
    assert len(outcome.calls) > 0.99 * SERVABLE
    assert outcome.attempt(99) / outcome.attempt(50) < 1.5
    assert outcome.call(50) == pytest.approx(16, abs=2)
    assert outcome.call(99) < 4 * 16
    assert outcome.refused < 1.5 * len(outcome.calls)
    assert outcome.given_up == 0


def test_callers_of_three_times_the_load_are_served_at_full_speed_and_accepted_calls_keep_their_time(
    simulation: Simulation,
) -> None:
    for k in range(48):
        simulation.caller(begin_s=k * 0.0033, interval_s=48 * WORK_S / 3, timeout_s=3.0)
    outcome = simulation.run()
    assert len(outcome.calls) > 0.99 * SERVABLE
    assert outcome.attempt(99) < 3.3
    assert outcome.refused < 2 * len(outcome.calls)
    assert outcome.given_up < 0.01 * len(outcome.calls)


def test_strangers_without_end_find_the_queue_as_short(simulation: Simulation) -> None:
    simulation.strangers(per_second=3 / WORK_S, timeout_s=3.0)
    outcome = simulation.run()
    assert len(outcome.calls) > 0.99 * SERVABLE
    assert outcome.attempt(99) < 3.3
    assert outcome.refused < 4 * len(outcome.calls)
