"""StreamScores from the client's side, awaited; what is said is the same as in quandary.score_stream."""

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, AsyncIterable
from contextlib import aclosing
from datetime import timedelta

import grpc

from quandary.calls import passes
from quandary.conversation import Conversation
from quandary.errors import Cancelled, QuandaryError
from quandary.frames import Frame
from quandary.patience import Resumption
from quandary.rpc_errors import error_of_call
from quandary.score_stream import Start
from quandary.stream_status import StreamStatus
from quandary.v1 import scoring_pb2

__all__ = ["AsyncScoreStream"]

log = logging.getLogger(__name__)


class AsyncScoreStream:
    """One stream. A task of its own reads `frames`; one of gRPC's, which dies with its call, must not.

    closed: set when the client is closed.
    """

    def __init__(
        self,
        start: Start,
        frames: AsyncIterable[Frame],
        talk: Conversation,
        resumption: Resumption,
        closed: asyncio.Event,
    ) -> None:
        self._start, self._frames, self._talk = start, frames, talk
        self._resumption, self._closed = resumption, closed
        self._changed = asyncio.Condition()
        self._call: object | None = None

    async def answers(self) -> AsyncGenerator[scoring_pb2.StreamScoresResponse, None]:
        """Yield one answer per frame; closing the generator cancels the call."""
        reader = asyncio.create_task(self._read())
        try:
            while True:
                try:
                    async with aclosing(self._converse()) as answers:
                        async for answer in answers:
                            yield answer
                    break
                except QuandaryError as broken:
                    pause_s = self._resumption.pause_s(broken, time.monotonic())
                    log.warning("stream_broken pause_s=%.2f problem=%s", pause_s, broken)
                    if await passes(self._closed, pause_s):
                        raise Cancelled("the client was closed") from broken
        finally:
            reader.cancel()
            await asyncio.gather(reader, return_exceptions=True)
        self._talk.raise_problem()

    async def _converse(self) -> AsyncGenerator[scoring_pb2.StreamScoresResponse, None]:
        """Make one call, from the first frame not answered, until it ends."""
        left_s = self._resumption.left_s(time.monotonic())
        self._call = this_call = object()
        opening = self._talk.begin(None if left_s is None else timedelta(seconds=left_s))
        answers = self._start(self._requests(opening, this_call), left_s)
        status = StreamStatus(answers)
        try:
            async for answer in answers:
                async with self._changed:
                    self._talk.note_answer(answer)
                    self._changed.notify_all()
                self._resumption.note_answer()
                yield answer
        except grpc.RpcError as raised:
            if (error := await status.error(raised)) is not None:
                raise error_of_call(error) from error
        finally:
            answers.cancel()
            self._call = None
            async with self._changed:
                self._changed.notify_all()
        self._talk.check_complete()

    async def _requests(
        self, opening: scoring_pb2.StreamScoresRequest, this_call: object
    ) -> AsyncGenerator[scoring_pb2.StreamScoresRequest, None]:
        """Yield the requests of a call as they are read, in gRPC's task, while it is this call's turn."""
        yield opening
        while True:
            async with self._changed:
                while (request := self._talk.next_request() if self._call is this_call else None) is None:
                    if self._call is not this_call or self._talk.all_sent:
                        return
                    await self._changed.wait()
            yield request

    async def _read(self) -> None:
        """Read the frames as far as the window allows, to their end."""
        problem: Exception | None = None
        try:
            source = aiter(self._frames)
            while await self._wait_for_place() and (frame := await anext(source, None)) is not None:
                request = self._talk.request(frame)
                async with self._changed:
                    self._talk.note_read(request)
                    self._changed.notify_all()
        except Exception as error:
            problem = error
        async with self._changed:
            self._talk.note_last(problem)
            self._changed.notify_all()

    async def _wait_for_place(self) -> bool:
        async with self._changed:
            return await self._changed.wait_for(lambda: self._talk.may_read)
