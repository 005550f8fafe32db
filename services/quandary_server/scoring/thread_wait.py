"""A thread that waits for what an event loop does, and can be told to wait no longer."""

import asyncio
import threading
import time
from collections.abc import Awaitable, Coroutine, Sequence
from concurrent import futures
from typing import Any, TypeVar

from quandary.errors import Cancelled, DeadlineExceeded

Result = TypeVar("Result")


class Wait:
    """A thread's wait for work in an event loop: until it is done, until a deadline (time.monotonic()), or until abandoned."""

    def __init__(self, loop: asyncio.AbstractEventLoop, deadline: float | None) -> None:
        self._loop, self._deadline = loop, deadline
        self._lock = threading.Lock()
        self._running: futures.Future[Any] | None = None
        self._abandoned = False

    def result(self, work: Coroutine[Any, Any, Result]) -> Result:
        """Return what the work returns; raises DeadlineExceeded or Cancelled, and ends the work then."""
        with self._lock:
            if self._abandoned:
                work.close()
                raise Cancelled("the caller has given up")
            running = self._running = asyncio.run_coroutine_threadsafe(work, self._loop)
        left = None if self._deadline is None else max(self._deadline - time.monotonic(), 0.0)
        try:
            result: Result = running.result(left)
            return result
        except TimeoutError:
            running.cancel()
            raise DeadlineExceeded("the timeout passed before the members had answered") from None
        except futures.CancelledError:
            raise Cancelled("the caller has given up") from None

    def abandon(self) -> None:
        """End the work that is waited for, and let none begin."""
        with self._lock:
            self._abandoned = True
            if self._running is not None:
                self._running.cancel()


async def all_of(asked: Sequence[Awaitable[Result]]) -> list[Result]:
    """Return all results, in order; where one fails the others are ended."""
    tasks = [asyncio.ensure_future(one) for one in asked]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
