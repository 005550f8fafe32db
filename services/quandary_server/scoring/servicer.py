"""ScoringService: convert, call, convert."""

import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from functools import partial

from quandary.convert import duration
from quandary.errors import InvalidArgument, within
from quandary.option_messages import scoring_options
from quandary.options import ScoringOptions
from quandary.v1 import scoring_pb2, scoring_pb2_grpc
from quandary_server.auth import Caller, Role
from quandary_server.inference.generation import Generation
from quandary_server.scoring.engine import Engine, check_samples
from quandary_server.scoring.frame_stream import FrameStream, ReadAhead
from quandary_server.scoring.keeper import Keeper
from quandary_server.scoring.pinning import answered
from quandary_server.scoring.schedule import Terms
from quandary_server.wire.door import Door, streaming, unary
from quandary_server.wire.frames import Limits, check_jitter, check_request

SERVICE = "quandary.v1.ScoringService"


class ScoringServicer(scoring_pb2_grpc.ScoringServiceServicer):
    """The service over a keeper and an engine; knows no Ray."""

    def __init__(
        self,
        door: Door,
        keeper: Keeper[Generation],
        engine: Engine,
        limits: Limits,
        replica: str,
        window: int,
        ahead: ReadAhead,
    ) -> None:
        self.door, self.keeper, self.engine = door, keeper, engine
        self.limits, self.replica, self.window, self.ahead = limits, replica, window, ahead

    @unary(Role.FLEET, scoring_pb2.ScoreFramesResponse)
    async def ScoreFrames(self, request: scoring_pb2.ScoreFramesRequest, caller: Caller) -> scoring_pb2.ScoreFramesResponse:
        """Score a batch of frames, all by one generation."""
        check_request(request, self.limits)
        options = _options(request.options)
        check_jitter(request.frames, options.jittered_proposals, self.limits, "frames")
        paths = [f"frames[{i}]" for i in range(len(request.frames))]
        terms = Terms(deadline=_deadline(request), returning=request.returning)

        async def answer(generation: Generation) -> scoring_pb2.ScoreFramesResponse:
            check_samples(options, generation.members)
            results = await self.engine.score(generation, request.frames, paths, options, terms)
            self.keeper.live.scored(generation.id, options, results)
            return scoring_pb2.ScoreFramesResponse(generation=generation.id, results=results)

        return await answered(self.keeper, options.generation, answer, terms.deadline)

    @streaming(Role.FLEET)
    async def StreamScores(
        self, request: AsyncIterator[scoring_pb2.StreamScoresRequest], caller: Caller
    ) -> AsyncGenerator[scoring_pb2.StreamScoresResponse, None]:
        """Score frames as they come, answered in their order; at most a window of them is in work."""
        opening = await anext(aiter(request), None)
        options, deadline = _first(opening), opening and _deadline(opening)
        check_samples(options, self.keeper.generation(options.generation).members)
        score = partial(self._score_one, options, Terms(flow=object(), deadline=deadline))
        async with aclosing(FrameStream(score, self.window, self.ahead).answers(request)) as answers:
            async for answer in answers:
                yield answer

    async def _score_one(
        self, options: ScoringOptions, terms: Terms, request: scoring_pb2.StreamScoresRequest
    ) -> scoring_pb2.StreamScoresResponse:
        async def answer(generation: Generation) -> scoring_pb2.StreamScoresResponse:
            check_samples(options, generation.members)
            results = await self.engine.score(generation, [request.frame], ["frame"], options, terms)
            self.keeper.live.scored(generation.id, options, results)
            return scoring_pb2.StreamScoresResponse(sequence=request.sequence, result=results[0])

        return await answered(self.keeper, options.generation, answer, terms.deadline)

    @unary(Role.FLEET, scoring_pb2.GetServingStatusResponse)
    async def GetServingStatus(
        self, request: scoring_pb2.GetServingStatusRequest, caller: Caller
    ) -> scoring_pb2.GetServingStatusResponse:
        """Tell what this replica serves."""
        resident = self.keeper.resident
        current = resident[0] if resident else None
        return scoring_pb2.GetServingStatusResponse(
            generation=current.id if current else "",
            resident_generations=[generation.id for generation in resident],
            ready=current is not None,
            replica=self.replica,
            class_names=current.manifest.classes if current else (),
            members=current.members if current else 0,
            limits=self.limits.message(),
        )


def _options(message: scoring_pb2.ScoringOptions) -> ScoringOptions:
    with within("options"):
        return scoring_options(message)


def _first(message: scoring_pb2.StreamScoresRequest | None) -> ScoringOptions:
    if message is None or not message.HasField("options"):
        raise InvalidArgument.of("message", (message and message.WhichOneof("message")) or "missing", "options first")
    return _options(message.options)


def _deadline(request: scoring_pb2.ScoreFramesRequest | scoring_pb2.StreamScoresRequest) -> float | None:
    if not request.HasField("timeout"):
        return None
    with within("timeout"):
        timeout = duration(request.timeout)
    if timeout.total_seconds() <= 0:
        given = request.timeout
        raise InvalidArgument.of("timeout", f"{given.seconds} s, {given.nanos} ns", "at least 1000 ns")
    return time.monotonic() + timeout.total_seconds()
