"""Generations come and go while their members are elsewhere: the old one answers until all have the new, never both at once."""

import asyncio
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from support.generations import SMALL, untrained
from support.scoring import LIMITS, QUEUE, Told
from support.spread import FIRST, INGRESS, MEMBERS, SpreadDeployment
from support.waiting import wait_for

from quandary import Frame, GenerationNotResident, NoGeneration, ScoringOptions
from quandary.convert import frame_message
from quandary.errors import Unavailable
from quandary.v1 import scoring_pb2
from quandary_server.clock import now
from quandary_server.inference.generation import Generation
from quandary_server.registry.directory import Artefacts
from quandary_server.scoring.engine import Engine
from quandary_server.scoring.pinning import answered
from quandary_server.scoring.schedule import Terms


@pytest.fixture
def deployment(tmp_path: Path) -> Iterator[SpreadDeployment]:
    empty = SpreadDeployment(tmp_path)
    yield empty
    empty.stop()


@pytest.fixture(scope="module")
def four_members() -> Artefacts:
    return untrained(SMALL, members=4)


def test_a_generation_answers_once_the_last_of_its_members_is_there(
    deployment: SpreadDeployment, generation: Artefacts
) -> None:
    deployment.start(but=["m1", FIRST])
    with pytest.raises(NoGeneration):
        deployment.answers()
    first = deployment.promote(generation)
    wait_for(lambda: deployment.beat().problem == f"{first} waits for m1, {FIRST}")
    with pytest.raises(Unavailable, match="is being loaded"):
        deployment.answers()
    deployment.start()
    wait_for(lambda: deployment.beat().generation == first)
    assert deployment.answers() == first
    assert deployment.beat().problem == ""


def test_a_replica_starts_once_its_members_have_the_generation_so_that_no_call_comes_before(
    deployment: SpreadDeployment, generation: Artefacts
) -> None:
    deployment.start(but=["m1", INGRESS])
    first = deployment.promote(generation)
    with ThreadPoolExecutor(1) as pool:
        started = pool.submit(deployment.start, but=["m1"], patience=timedelta(seconds=30))
        told = f"{first} waits for m1"
        wait_for(lambda: any(beat.problem == told for beat in deployment.registry.roster.alive(now())))
        assert not started.done()
        deployment.each[1].keeper.start()
        started.result(timeout=30)
    assert deployment.answers() == first
    deployment.each[1].keeper.stop()


def test_a_replica_is_on_the_roster_before_it_loads_so_that_promotions_wait_for_it(
    deployment: SpreadDeployment, generation: Artefacts
) -> None:
    first = deployment.promote(generation)
    slow = deployment.each[0]
    slow.open.clear()
    with ThreadPoolExecutor(1) as pool:
        started = pool.submit(slow.keeper.start)
        wait_for(lambda: [beat.generation for beat in deployment.registry.roster.alive(now())] == [""])
        assert not started.done()
        slow.open.set()
        started.result(timeout=30)
    assert deployment.beat("m0").generation == first
    slow.keeper.stop()


def without_ingress_and_late_at_m1(deployment: SpreadDeployment, generation: Artefacts) -> tuple[str, str]:
    """Have members with a generation, and all but m1 with the next one, which is current; return both."""
    first = deployment.promote(generation)
    deployment.start(but=[INGRESS])
    deployment.each[1].open.clear()
    second = deployment.promote(generation, 2.0)
    wait_for(lambda: deployment.resident("m0") == (second, first))
    return first, second


def test_the_generation_before_does_not_stand_in_for_one_that_a_replica_still_waits_for(
    deployment: SpreadDeployment, generation: Artefacts
) -> None:
    _, second = without_ingress_and_late_at_m1(deployment, generation)
    with ThreadPoolExecutor(1) as pool:
        started = pool.submit(deployment.start, patience=timedelta(seconds=30))
        told = f"{second} waits for m1"
        wait_for(lambda: any(beat.problem == told for beat in deployment.registry.roster.alive(now())))
        assert deployment.keeper.resident == ()
        deployment.each[1].open.set()
        started.result(timeout=30)
    assert deployment.answers() == second


def test_the_generation_before_stands_in_for_one_that_does_not_come(
    deployment: SpreadDeployment, generation: Artefacts
) -> None:
    first, second = without_ingress_and_late_at_m1(deployment, generation)
    deployment.start(patience=timedelta(milliseconds=100))
    assert deployment.answers() == first
    deployment.each[1].open.set()
    wait_for(lambda: deployment.answers() == second)


def test_a_replica_starts_without_a_generation_that_its_members_do_not_get(
    deployment: SpreadDeployment, generation: Artefacts
) -> None:
    first = deployment.promote(generation)
    deployment.start(but=["m1"], patience=timedelta(milliseconds=100))
    assert deployment.beat().problem == f"{first} waits for m1"
    with pytest.raises(Unavailable, match="is being loaded"):
        deployment.answers()


def test_the_old_generation_answers_until_every_member_has_the_new_one(
    deployment: SpreadDeployment, generation: Artefacts
) -> None:
    first = deployment.promote(generation)
    deployment.start()
    slow = deployment.each[2]
    slow.open.clear()
    second = deployment.promote(generation, 2.0)
    wait_for(lambda: deployment.beat().problem == f"{second} waits for m2")
    assert deployment.answers() == first
    assert deployment.resident("m0") == (second, first)

    third = deployment.promote(generation, 3.0)
    wait_for(lambda: deployment.resident("m0")[0] == third)
    assert deployment.resident("m0") == (third, second, first), "the one that answers was let go of"
    assert deployment.answers() == first
    slow.open.set()
    wait_for(lambda: deployment.answers() == third)
    assert [held.id for held in deployment.keeper.resident] == [third, first]


def test_a_fresh_start_has_the_generation_before_as_well(deployment: SpreadDeployment, generation: Artefacts) -> None:
    first, second = deployment.promote(generation), deployment.promote(generation, 2.0)
    deployment.start()
    for name in (*MEMBERS, FIRST):
        assert deployment.resident(name) == (second, first)
    assert [held.id for held in deployment.keeper.resident] == [second, first]


def test_a_generation_with_more_members_than_are_deployed_is_refused_by_name_and_the_old_one_answers_on(
    deployment: SpreadDeployment, generation: Artefacts, four_members: Artefacts
) -> None:
    first = deployment.promote(generation)
    deployment.start()
    larger = deployment.promote(four_members)
    for name in (*MEMBERS, FIRST, INGRESS):
        told = f"{larger} has 4 members, deployed are 3: set QUANDARY_SCORING__SPREAD__MEMBERS"
        wait_for(lambda: deployment.beat(name).problem == told)  # noqa: B023
        assert deployment.beat(name).generation == first
    assert deployment.answers() == first


def test_a_generation_with_fewer_members_is_answered_by_those_it_has(
    deployment: SpreadDeployment, generation: Artefacts, make_frame: Any
) -> None:
    smaller = deployment.promote(untrained(SMALL, members=1))
    deployment.start()
    (result,) = scored(deployment, [make_frame("a")], ScoringOptions())
    assert result.generation == smaller
    assert result.score.samples == 20
    assert [member.asked for member in deployment.each] == [1, 0, 0]
    assert deployment.beat("m2").generation == smaller


def test_where_a_member_lacks_the_generation_the_whole_request_is_made_anew_by_the_one_before(
    deployment: SpreadDeployment, generation: Artefacts, make_frame: Any
) -> None:
    frames = [make_frame("a"), make_frame("b", seed=2, proposals=5)]
    first = deployment.promote(generation)
    deployment.start()
    by_first = scored(deployment, frames, ScoringOptions())
    second = deployment.promote(generation, 2.0)
    wait_for(lambda: deployment.answers() == second)
    by_second = scored(deployment, frames, ScoringOptions())
    assert by_second != by_first

    deployment.each[1].forgotten = {second}
    assert scored(deployment, frames, ScoringOptions()) == by_first
    with pytest.raises(GenerationNotResident, match=f"{second} is not resident in m1"):
        scored(deployment, frames, ScoringOptions(generation=second))
    assert scored(deployment, frames, ScoringOptions(generation=first)) == by_first

    deployment.each[1].forgotten = {first, second}
    with pytest.raises(Unavailable, match=f"{first} is not resident in m1"):
        scored(deployment, frames, ScoringOptions())


def scored(deployment: SpreadDeployment, frames: Sequence[Frame], options: ScoringOptions) -> list[scoring_pb2.FrameResult]:
    engine = Engine(LIMITS, QUEUE, Told(), threads=2)
    messages, paths = [frame_message(frame) for frame in frames], [frame.frame_id for frame in frames]

    async def by(generation: Generation) -> list[scoring_pb2.FrameResult]:
        return await engine.score(generation, messages, paths, options, Terms())

    try:
        return asyncio.run(answered(deployment.keeper, options.generation, by))
    finally:
        engine.close()
