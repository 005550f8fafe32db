"""What a replica tells of its answers, and that a generation is kept while requests of it are in flight."""

import asyncio
import threading
from bisect import bisect
from pathlib import Path
from typing import Any

import pytest
from support.spread import SpreadDeployment
from support.waiting import wait_for

from quandary import DeadlineExceeded, NonFiniteOutput, Overloaded, ScoringOptions
from quandary.options import Acquisition
from quandary.v1 import error_pb2, scoring_pb2
from quandary_server.clock import now
from quandary_server.registry.directory import Artefacts
from quandary_server.registry.live import SCORES, SECONDS, LiveCounts, total
from quandary_server.scoring.live import EPOCH_S, Live

FAILED = scoring_pb2.FrameResult(error=error_pb2.Error(status_code=13))
WRONG = scoring_pb2.FrameResult(error=error_pb2.Error(status_code=3))
SCORED = scoring_pb2.FrameResult(score=scoring_pb2.FrameScore(score=0.5))


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def answer(live: Live, clock: Clock, generation: str, seconds: float) -> None:
    with live.answering(generation):
        clock.now += seconds


def test_answers_are_counted_by_generation_with_the_time_they_took() -> None:
    clock = Clock()
    live = Live(clock)
    for seconds in (0.0, 0.5, 1000.0):
        answer(live, clock, "g1", seconds)
    (found,) = live.told(["g1", "g2"])
    assert (found.generation, found.answers, found.failures, found.in_flight) == ("g1", 3, 0, 0)
    assert sum(found.seconds) == 3
    assert (found.seconds[0], found.seconds[len(SECONDS)]) == (1, 1)
    assert SECONDS[found.seconds.index(1, 1) - 1] <= 0.5 < SECONDS[found.seconds.index(1, 1)]


def test_what_is_in_flight_is_told_although_nobody_asked_for_that_generation() -> None:
    live = Live(Clock())
    with live.answering("old"):
        assert [(counts.generation, counts.in_flight) for counts in live.told(["new"])] == [("old", 1)]
    assert [(counts.generation, counts.in_flight) for counts in live.told(["old"])] == [("old", 0)]


def test_a_generation_is_at_fault_for_what_is_internal_and_not_for_requests_or_load() -> None:
    live = Live(Clock())
    for error in (NonFiniteOutput("NaN"), RuntimeError("ONNX Runtime"), Overloaded("too much")):
        with pytest.raises(type(error)), live.answering("g"):
            raise error
    live.scored("g", ScoringOptions(), [FAILED, FAILED, SCORED])
    live.scored("g", ScoringOptions(), [WRONG])
    (found,) = live.told(["g"])
    assert (found.answers, found.failures) == (2, 3)


def give_up(clock: Clock, how: BaseException) -> None:
    clock.now += 5.0
    raise how


@pytest.mark.parametrize("given_up", [DeadlineExceeded("late"), asyncio.CancelledError()])
def test_what_is_given_up_took_that_long_at_the_least(given_up: BaseException) -> None:
    clock = Clock()
    live = Live(clock)
    with pytest.raises(type(given_up)), live.answering("g"):
        give_up(clock, given_up)
    (found,) = live.told(["g"])
    assert (found.answers, found.failures, sum(found.seconds)) == (0, 0, 1)
    assert found.seconds[bisect(SECONDS, 5.0)] == 1


def test_scores_are_comparable_by_default_options_alone() -> None:
    live = Live(Clock())
    live.scored("g", ScoringOptions(seed=3, mc_samples=7), [SCORED])
    live.scored("g", ScoringOptions(acquisition=Acquisition.PREDICTIVE_ENTROPY), [SCORED])
    with live.answering("g"):
        (found,) = live.told(["g"])
    assert sum(found.scores) == 1
    assert SCORES[found.scores.index(1) - 1] <= 0.5 < SCORES[found.scores.index(1)]


def test_a_frame_that_is_asked_for_again_counts_once() -> None:
    live = Live(Clock())
    other = scoring_pb2.FrameResult(score=scoring_pb2.FrameScore(score=0.51))
    for _ in range(3):
        live.scored("g", ScoringOptions(), [SCORED, SCORED, other])
    with live.answering("g"):
        assert sum(live.told(["g"])[0].scores) == 2


def test_answers_are_forgotten_after_one_to_two_epochs() -> None:
    clock = Clock()
    live = Live(clock)
    answer(live, clock, "g", 0.1)
    clock.now = EPOCH_S
    assert live.told(["g"])[0].answers == 1
    clock.now = 1.9 * EPOCH_S
    assert live.told(["g"])[0].answers == 1
    clock.now = 2 * EPOCH_S
    assert live.told(["g"]) == ()
    answer(live, clock, "g", 0.1)
    clock.now = 10 * EPOCH_S
    assert live.told(["g"]) == ()


def test_counts_of_replicas_add_up() -> None:
    seconds = (1, *[0] * len(SECONDS))
    mine = LiveCounts(generation="g", answers=2, failures=1, in_flight=1, seconds=seconds)
    both = total("g", [mine, mine, LiveCounts(generation="other", answers=9)])
    assert (both.answers, both.failures, both.in_flight, both.seconds[0]) == (4, 2, 2, 2)
    assert total("g", []) == LiveCounts(generation="g")


def test_packed_a_request_in_flight_is_answered_by_its_generation_through_two_swaps(service: Any, make_frame: Any) -> None:
    first = service.keeper.generation().id
    found = []

    def ask() -> None:
        with service.client() as client:
            found.append(client.score_frames([make_frame("a")]))

    with service.held():
        asking = threading.Thread(target=ask)
        asking.start()
        wait_for(lambda: any(counts.in_flight for counts in service.keeper.live.told([first])))
        for temperature in (2.0, 3.0):
            service.promote(service.register(temperature))
        assert first not in [held.id for held in service.keeper.resident]
    asking.join()
    assert (found[0].generation, found[0].results[0].generation) == (first, first)


def test_packed_the_one_before_stays_for_pinned_requests(service: Any, make_frame: Any) -> None:
    first = service.keeper.generation().id
    second = service.register(2.0)
    service.promote(second)
    with service.client() as client:
        assert client.score_frames([make_frame("a")]).generation == second
        assert client.score_frames([make_frame("a")], ScoringOptions(generation=first)).generation == first
    beat = service.registry.roster.alive
    wait_for(lambda: {c.generation for b in beat(now()) for c in b.live} == {first, second})


def follow(deployment: SpreadDeployment, generation: str) -> None:
    wait_for(lambda: deployment.beat().generation == generation)


def test_spread_members_keep_what_the_ingress_has_requests_of(tmp_path: Path, generation: Artefacts) -> None:
    deployment = SpreadDeployment(tmp_path)
    first = deployment.promote(generation)
    deployment.start()
    try:
        with deployment.keeper.live.answering(first):
            for temperature in (2.0, 3.0):
                follow(deployment, deployment.promote(generation, temperature))
            assert first in deployment.resident("m0")
        follow(deployment, deployment.promote(generation, 4.0))
        fifth = deployment.promote(generation, 5.0)
        wait_for(lambda: deployment.resident("m0")[0] == fifth)
        assert first not in deployment.resident("m0")
    finally:
        deployment.stop()
