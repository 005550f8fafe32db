"""The server's side of StreamScores: frames are read under a window, scored side by side, answered in their order."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine
from typing import Any

from quandary.errors import InvalidArgument
from quandary.v1 import scoring_pb2

Request = scoring_pb2.StreamScoresRequest
Response = scoring_pb2.StreamScoresResponse


class ReadAhead:
    """The bytes of the frames in work, over all streams. A stream with none in work may always read one."""

    def __init__(self, most_bytes: int) -> None:
        self._most, self._held = most_bytes, 0
        self._freed = asyncio.Event()

    async def take(self, size: int, none_in_work: Callable[[], bool]) -> None:
        """Wait until there is room for a frame of so many bytes, and take it."""
        while self._held + size > self._most and not none_in_work():
            self._freed.clear()
            await self._freed.wait()
        self._held += size

    def give_back(self, size: int) -> None:
        """Give back what was taken."""
        self._held -= size
        self._freed.set()


class FrameStream:
    """One call. score: answers a frame; window: frames read and not yet answered at most."""

    def __init__(self, score: Callable[[Request], Coroutine[Any, Any, Response]], window: int, ahead: ReadAhead) -> None:
        self._score, self._ahead = score, ahead
        self._places = asyncio.Semaphore(window)
        self._in_work: set[asyncio.Task[Response]] = set()
        self._in_order: asyncio.Queue[asyncio.Task[Response] | Exception | None] = asyncio.Queue()

    async def answers(self, requests: AsyncIterator[Request]) -> AsyncGenerator[Response, None]:
        """Yield the answers. Whatever ends this early ends the work on the frames that are not answered."""
        reader = asyncio.create_task(self._read(requests))
        try:
            while (task := await self._in_order.get()) is not None:
                if isinstance(task, Exception):
                    raise task
                yield await task
                self._places.release()
        finally:
            reader.cancel()
            for task in self._in_work:
                task.cancel()

    async def _read(self, requests: AsyncIterator[Request]) -> None:
        """Start a task per frame, no further ahead than there are places; end with None, or with what went wrong."""
        try:
            async for request in requests:
                _check(request)
                await self._places.acquire()
                size = request.ByteSize()
                await self._ahead.take(size, lambda: not self._in_work)
                self._in_order.put_nowait(self._started(request, size))
            self._in_order.put_nowait(None)
        except Exception as error:
            self._in_order.put_nowait(error)

    def _started(self, request: Request, size: int) -> asyncio.Task[Response]:
        task = asyncio.create_task(self._score(request))
        self._in_work.add(task)

        def ended(task: asyncio.Task[Response]) -> None:
            self._in_work.remove(task)
            self._ahead.give_back(size)
            if not task.cancelled():
                task.exception()  # looked at, so that asyncio does not complain where the stream ended before it

        task.add_done_callback(ended)
        return task


def _check(request: Request) -> None:
    if not request.HasField("frame"):
        raise InvalidArgument.of("message", request.WhichOneof("message") or "missing", "a frame after the options")
    if request.HasField("timeout"):
        raise InvalidArgument.of("timeout", "set", "unset after the options")
    if request.sequence < 0:
        raise InvalidArgument.of("sequence", request.sequence, ">= 0")
