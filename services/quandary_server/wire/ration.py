"""Streams that anybody may open, without a token: so many at a time, each for so long."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TypeVar

from quandary.errors import Overloaded

MAX_STREAMS = 64
LIFETIME = timedelta(minutes=10)

Request = TypeVar("Request")


class Ration:
    """The places of one kind of stream in one process. doing: what those who hold them do, for who finds none."""

    def __init__(self, doing: str, lifetime: timedelta = LIFETIME, most: int = MAX_STREAMS) -> None:
        self._doing, self._lifetime, self._most = doing, lifetime, most
        self._held = 0

    @contextmanager
    def place(self) -> Iterator[float]:
        """Hold a place while the body runs; tell when its time is over, by the event loop's clock. Raises Overloaded."""
        if self._held >= self._most:
            raise Overloaded(f"{self._most} {self._doing} already", retry_after=self._lifetime)
        self._held += 1
        try:
            yield asyncio.get_running_loop().time() + self._lifetime.total_seconds()
        finally:
            self._held -= 1


async def until(over: float, requests: AsyncIterator[Request]) -> AsyncIterator[Request]:
    """Yield the requests that come until the time is over, by the event loop's clock, and end in order then."""
    try:
        while True:
            async with asyncio.timeout_at(over):
                request = await anext(requests)
            yield request
    except (StopAsyncIteration, TimeoutError):
        return
