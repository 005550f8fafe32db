"""Draws of members that are elsewhere: the same bytes as here, and nothing is waited for in vain."""

import asyncio
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.generations import calibrated
from support.scoring import LIMITS, QUEUE, Told
from support.spread import SpreadDeployment

from quandary import Estimator, Frame, ScoringOptions
from quandary.convert import frame_message
from quandary.errors import DeadlineExceeded
from quandary.v1 import scoring_pb2
from quandary_server.frustum.raster import Rasters
from quandary_server.inference.cascade import calibrate_cascade
from quandary_server.inference.generation import Generation, LoadedGeneration
from quandary_server.inference.member import LoadedMember, MemberDraws
from quandary_server.inference.object_scores import ObjectScores
from quandary_server.inference.provider import Provider
from quandary_server.inference.scores import score_rasters
from quandary_server.registry.directory import Artefacts
from quandary_server.scoring import spread
from quandary_server.scoring.engine import Engine
from quandary_server.scoring.joint_draws import Crops, drawn_together
from quandary_server.scoring.live import Live
from quandary_server.scoring.pinning import answered
from quandary_server.scoring.schedule import Terms
from quandary_server.scoring.spread import DrawCall, Members, NotResident, SpreadGeneration

ESTIMATORS = [e for e in Estimator if e is not Estimator.ESCALATE]
COMPARED = ("score", "score_without", "mean_probs", "box", "aleatoric", "epistemic", "embedding", "usable", "samples")


@pytest.fixture(scope="module")
def generation(generation: Artefacts, rasters: Callable[[int], Rasters]) -> Artefacts:
    """A generation that is calibrated and has thresholds."""
    artefacts = calibrated(generation)
    record = calibrate_cascade(LoadedGeneration(artefacts, Provider.CPU), rasters(40))
    return Artefacts(artefacts.manifest.model_copy(update={"cascade": record}), artefacts.members)


@pytest.fixture
def deployment(tmp_path: Path, generation: Artefacts) -> Iterator[SpreadDeployment]:
    started = SpreadDeployment(tmp_path)
    started.promote(generation)
    started.start()
    yield started
    started.stop()


def of_request(generation: Generation, work: Callable[[Generation], ObjectScores]) -> ObjectScores:
    """Return what a thread makes of a generation for one request, while an event loop answers."""

    async def run() -> ObjectScores:
        return await asyncio.to_thread(work, generation.for_request(None))

    return asyncio.run(run())


@pytest.mark.parametrize("estimator", list(Estimator))
@pytest.mark.parametrize("crops", [1, 70])
def test_members_elsewhere_draw_the_same_to_the_bit_however_the_crops_are_cut(
    deployment: SpreadDeployment,
    generation: Artefacts,
    rasters: Callable[[int], Rasters],
    monkeypatch: pytest.MonkeyPatch,
    estimator: Estimator,
    crops: int,
) -> None:
    scored, options = rasters(crops), ScoringOptions(estimator, mc_samples=7, seed=3)
    expected = score_rasters(LoadedGeneration(generation, Provider.CPU), scored, options)
    for most in (spread.MAX_CALL_BYTES, 40 * scored.maps[0].nbytes, 1):
        monkeypatch.setattr(spread, "MAX_CALL_BYTES", most)
        found = of_request(deployment.keeper.generation(), lambda there: score_rasters(there, scored, options))
        for name in COMPARED:
            assert np.array_equal(getattr(found, name), getattr(expected, name)), name


def test_where_one_member_is_enough_no_other_is_asked(deployment: SpreadDeployment, rasters: Callable[[int], Rasters]) -> None:
    scored = rasters(2)
    for estimator in ESTIMATORS:
        of_request(deployment.keeper.generation(), lambda there: score_rasters(there, scored, ScoringOptions(estimator)))  # noqa: B023
    assert [member.asked for member in (*deployment.each, deployment.first)] == [2, 2, 2, 2]


def test_a_member_by_itself_is_asked_by_itself(
    deployment: SpreadDeployment, generation: Artefacts, rasters: Callable[[int], Rasters]
) -> None:
    scored, options = rasters(2), ScoringOptions(Estimator.SOFTMAX)
    expected = score_rasters(LoadedGeneration(generation, Provider.CPU).only(1), scored, options)
    found = of_request(deployment.keeper.generation(), lambda there: score_rasters(there.only(1), scored, options))
    assert np.array_equal(found.mean_probs, expected.mean_probs)
    assert [member.asked for member in (*deployment.each, deployment.first)] == [0, 1, 0, 0]


class SilentMembers:
    """Three members that never answer: how many were asked, and how many of those calls were given up."""

    def __init__(self, generation: Artefacts) -> None:
        self.asked = self.given_up = 0
        self.live = Live()
        self._generation = SpreadGeneration(generation.manifest, Members([self._ask] * 3, self._ask))

    def candidates(self, pinned: str) -> tuple[Generation, ...]:
        """Return the one generation that there is, as a keeper does."""
        return (self._generation,)

    async def _ask(self, call: DrawCall) -> MemberDraws | NotResident:
        self.asked += 1
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.given_up += 1
            raise
        raise AssertionError

    async def all_asked(self, count: int) -> None:
        while self.asked < count:
            await asyncio.sleep(0)


@pytest.fixture
def silent(generation: Artefacts) -> SilentMembers:
    return SilentMembers(generation)


@pytest.fixture
def engine() -> Iterator[Engine]:
    two_threads = Engine(LIMITS, QUEUE, Told(), threads=2)
    yield two_threads
    two_threads.close()


def test_members_that_do_not_answer_are_waited_for_until_the_deadline(
    silent: SilentMembers, engine: Engine, make_frame: Any
) -> None:
    async def run() -> None:
        with pytest.raises(DeadlineExceeded, match="the timeout passed before the"):
            await scoring(engine, silent, make_frame("a"), time.monotonic() + 0.2)

    asyncio.run(run())
    assert (silent.asked, silent.given_up) == (3, 3)


def test_what_a_caller_gives_up_is_given_up_at_the_members_and_what_waits_never_gets_there(
    silent: SilentMembers, engine: Engine, make_frame: Any
) -> None:
    async def run() -> None:
        calls = [asyncio.create_task(scoring(engine, silent, make_frame("a"), None)) for _ in range(5)]
        await silent.all_asked(6)
        for call in calls:
            call.cancel()
        assert all(isinstance(end, asyncio.CancelledError) for end in await asyncio.gather(*calls, return_exceptions=True))

    asyncio.run(run())
    assert (silent.asked, silent.given_up) == (6, 6)


async def scoring(engine: Engine, silent: SilentMembers, frame: Frame, deadline: float | None) -> None:
    """Score a frame as a servicer does, by the one generation there is."""

    async def answer(generation: Generation) -> list[scoring_pb2.FrameResult]:
        return await engine.score(generation, [frame_message(frame)], ["frames[0]"], ScoringOptions(), Terms(deadline=deadline))

    await answered(silent, "", answer, deadline)


def test_calls_that_a_member_draws_as_one_get_the_bytes_of_alone(
    generation: Artefacts, rasters: Callable[[int], Rasters]
) -> None:
    member = LoadedMember(generation.members[1], 1, generation.manifest.net)
    calls = [Crops(crops.maps, crops.geometry) for crops in (rasters(5), rasters(1), rasters(70))]
    works = [drawn_together(member, "g1", crops, 4, 7) for crops in calls]
    assert len({work.kind for work in works}) == 1
    others = [("g2", 4, 7), ("g1", 5, 7), ("g1", None, 7), ("g1", 4, 8)]
    kinds = {drawn_together(member, name, calls[0], masks, seed).kind for name, masks, seed in others}
    assert len(kinds - {works[0].kind}) == len(others)
    for found, crops in zip(works[0].compute(calls), calls, strict=True):
        assert isinstance(found, MemberDraws)
        alone = member.draw(*crops, 4, 7)
        assert [array.tobytes() for array in found] == [array.tobytes() for array in alone]
