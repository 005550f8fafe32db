"""Compute threads with a fair queue before them; what waits in it is dropped when its caller gives up."""

import asyncio
import time
from collections.abc import Callable, Hashable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from quandary_server.scoring.fair_queue import FairQueue

CALLS = "calls"
"""The flow of all unary calls: it counts as much as all streams together."""

AHEAD = 1
"""Jobs that are handed over before a thread is free, so that no thread waits for the event loop."""

Result = TypeVar("Result")


@dataclass(eq=False)
class _Job:
    flow: Hashable
    work: Callable[[], Any]
    work_s: float
    done: asyncio.Future[Any]
    handed_over: Future[Any] | None = None
    begun: float | None = None

    def run(self) -> Any:
        """Do the work, in a thread."""
        self.begun = time.monotonic()
        return self.work()


class Compute:
    """Runs work in threads, in fair turns over flows. Belongs to one event loop."""

    def __init__(self, threads: int = 1) -> None:
        self.threads = threads
        self._threads = ThreadPoolExecutor(max_workers=threads, thread_name_prefix="score")
        self._queue: FairQueue[_Job] = FairQueue(CALLS)
        self._held: set[_Job] = set()

    def close(self) -> None:
        """End the threads when what they are at is done."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def run(self, work: Callable[[], Result], flow: Hashable, work_s: float) -> Result:
        """Return what `work` returns, run in a thread when its turn comes.

        work_s: the seconds it will take, as far as is known. Cancelled before it has begun, it is never run.
        """
        job = _Job(flow, work, work_s, asyncio.get_running_loop().create_future())
        self._queue.push(flow, job, work_s)
        self._hand_over()
        try:
            found: Result = await job.done
            return found
        except asyncio.CancelledError:
            self._queue.discard(flow, job)
            if job.handed_over is not None:
                job.handed_over.cancel()
            raise

    def done_s(self, flow: Hashable) -> float:
        """Return the seconds spent on jobs of a flow that are being run now, none counted for more than it was to take."""
        now = time.monotonic()
        begun = ((job, job.begun) for job in self._held if job.flow == flow)
        return sum(min(now - at, job.work_s) for job, at in begun if at is not None)

    def shared(self, flow: Hashable) -> bool:
        """Return whether others than the flow have work here."""
        return self._queue.others_wait(flow) or any(job.flow != flow for job in self._held)

    def _hand_over(self) -> None:
        while len(self._held) < self.threads + AHEAD and (job := self._queue.pop()) is not None:
            self._held.add(job)
            job.handed_over = self._threads.submit(job.run)
            job.handed_over.add_done_callback(partial(self._call_back, job.done.get_loop(), job))

    def _call_back(self, loop: asyncio.AbstractEventLoop, job: _Job, over: Future[Any]) -> None:
        # called in a thread, or where it was cancelled; at the end of a process the loop may be gone before the threads
        if not loop.is_closed():
            loop.call_soon_threadsafe(self._take_back, job, over)

    def _take_back(self, job: _Job, over: Future[Any]) -> None:
        self._held.remove(job)
        # the future keeps its callback, and that the job: what it worked on would wait for the garbage collector
        job.handed_over = None
        self._hand_over()
        if job.done.done():
            return
        if over.cancelled():
            job.done.cancel()
        elif (error := over.exception()) is not None:
            job.done.set_exception(error)
        else:
            job.done.set_result(over.result())
