"""ScoringService: convert, call, convert."""

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator

from quandary.convert import duration
from quandary.errors import InvalidArgument, within
from quandary.option_messages import scoring_options
from quandary.options import ScoringOptions
from quandary.v1 import scoring_pb2, scoring_pb2_grpc
from quandary_server.auth import Caller, Role
from quandary_server.inference.generation import Generation
from quandary_server.scoring.engine import Engine, check_samples
from quandary_server.scoring.keeper import Keeper
from quandary_server.scoring.pinning import answered
from quandary_server.wire.door import Door, streaming, unary
from quandary_server.wire.frames import Limits, check_jitter, check_request

SERVICE = "quandary.v1.ScoringService"


class ScoringServicer(scoring_pb2_grpc.ScoringServiceServicer):
    """The service over a keeper and an engine; knows no Ray."""

    def __init__(
        self, door: Door, keeper: Keeper[Generation], engine: Engine, limits: Limits, replica: str, window: int
    ) -> None:
        self.door, self.keeper, self.engine = door, keeper, engine
        self.limits, self.replica, self.window = limits, replica, window

    @unary(Role.FLEET, scoring_pb2.ScoreFramesResponse)
    async def ScoreFrames(self, request: scoring_pb2.ScoreFramesRequest, caller: Caller) -> scoring_pb2.ScoreFramesResponse:
        """Score a batch of frames, all by one generation."""
        check_request(request, self.limits)
        options = _options(request.options)
        check_jitter(request.frames, options.jittered_proposals, self.limits, "frames")
        paths, deadline = [f"frames[{i}]" for i in range(len(request.frames))], _deadline(request)

        async def answer(generation: Generation) -> scoring_pb2.ScoreFramesResponse:
            check_samples(options, generation.members)
            results = await self.engine.score(generation, request.frames, paths, options, deadline)
            return scoring_pb2.ScoreFramesResponse(generation=generation.id, results=results)

        return await answered(self.keeper, options.generation, answer, deadline)

    @streaming(Role.FLEET)
    async def StreamScores(
        self, request: AsyncIterator[scoring_pb2.StreamScoresRequest], caller: Caller
    ) -> AsyncGenerator[scoring_pb2.StreamScoresResponse, None]:
        """Score frames as they come, answered in their order; at most a window of them is in work."""
        options = _first(await anext(aiter(request), None))
        check_samples(options, self.keeper.generation(options.generation).members)
        queue: asyncio.Queue[asyncio.Task[scoring_pb2.StreamScoresResponse] | Exception | None] = asyncio.Queue()
        places = asyncio.Semaphore(self.window)
        reader = asyncio.create_task(self._read(request, options, queue, places))
        try:
            while (task := await queue.get()) is not None:
                if isinstance(task, Exception):
                    raise task
                yield await task
                places.release()
        finally:
            reader.cancel()
            while not queue.empty():
                left = queue.get_nowait()
                if isinstance(left, asyncio.Task):
                    left.cancel()

    async def _read(
        self,
        requests: AsyncIterator[scoring_pb2.StreamScoresRequest],
        options: ScoringOptions,
        queue: asyncio.Queue[asyncio.Task[scoring_pb2.StreamScoresResponse] | Exception | None],
        places: asyncio.Semaphore,
    ) -> None:
        """Start a task per frame, no further ahead than there are places; end with None, or with what went wrong."""
        try:
            async for message in requests:
                if not message.HasField("frame"):
                    raise InvalidArgument.of("message", message.WhichOneof("message") or "missing", "a frame after the options")
                if message.sequence < 0:
                    raise InvalidArgument.of("sequence", message.sequence, ">= 0")
                await places.acquire()
                queue.put_nowait(asyncio.create_task(self._score_one(message, options)))
            queue.put_nowait(None)
        except Exception as error:
            queue.put_nowait(error)

    async def _score_one(
        self, message: scoring_pb2.StreamScoresRequest, options: ScoringOptions
    ) -> scoring_pb2.StreamScoresResponse:
        async def answer(generation: Generation) -> scoring_pb2.StreamScoresResponse:
            check_samples(options, generation.members)
            results = await self.engine.score(generation, [message.frame], ["frame"], options, None, patient=True)
            return scoring_pb2.StreamScoresResponse(sequence=message.sequence, result=results[0])

        return await answered(self.keeper, options.generation, answer)

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


def _deadline(request: scoring_pb2.ScoreFramesRequest) -> float | None:
    if not request.HasField("timeout"):
        return None
    with within("timeout"):
        timeout = duration(request.timeout)
    if timeout.total_seconds() <= 0:
        raise InvalidArgument.of("timeout", timeout, "> 0")
    return time.monotonic() + timeout.total_seconds()
