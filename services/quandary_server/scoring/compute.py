"""Compute threads with a fair queue before them; what waits in it is dropped when its caller gives up."""

import asyncio
import time
from collections.abc import Callable, Hashable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any, TypeVar

from quandary_server.scoring.batch import Batch, BatchLimit, Job, Ran, Together, alone
from quandary_server.scoring.fair_queue import FairQueue

CALLS = "calls"
"""The flow of all unary calls: it counts as much as all streams together."""

AHEAD = 1
"""Batches that are handed over before a thread is free, so that no thread waits for the event loop."""

Result = TypeVar("Result")


class Compute:
    """Runs work in threads, in fair turns over flows. Belongs to one event loop.

    batching: what of one kind waits is done together, up to this limit; None: each by itself.
    """

    def __init__(self, threads: int = 1, batching: BatchLimit | None = None) -> None:
        self.threads, self._batching = threads, batching
        self._threads = ThreadPoolExecutor(max_workers=threads, thread_name_prefix="score")
        self._queue: FairQueue[Job] = FairQueue(CALLS)
        self._held: set[Batch] = set()

    def close(self) -> None:
        """End the threads when what they are at is done."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def run(self, work: Callable[[], Result] | Together[Any, Result], flow: Hashable, work_s: float) -> Ran[Result]:
        """Return what came of the work, run in a thread when its turn comes.

        work_s: the seconds it will take, as far as is known. Cancelled before it has begun, it is never run.
        """
        loop = asyncio.get_running_loop()
        job = Job(flow, work if isinstance(work, Together) else alone(work), work_s, loop.create_future())
        self._enter(job, loop)
        try:
            return await job.done
        except asyncio.CancelledError:
            self._queue.discard(flow, job)
            if job.batch is not None:
                job.batch.leave(job)
            raise

    def done_s(self, flow: Hashable) -> float:
        """Return the seconds spent on jobs of a flow that are being run now, none counted for more than it was to take."""
        now = time.monotonic()
        return sum(batch.done_s(flow, now) for batch in self._held)

    def shared(self, flow: Hashable) -> bool:
        """Return whether others than the flow have work here."""
        return self._queue.others_wait(flow) or any(job.flow != flow for batch in self._held for job in batch.jobs)

    def _enter(self, job: Job, loop: asyncio.AbstractEventLoop) -> None:
        for batch in self._held:
            if batch.join(job):
                self._queue.charge(job.flow, job.work_s)
                if batch.full:
                    self._submit(batch, loop)
                return
        self._queue.push(job.flow, job, job.work_s)
        self._hand_over(loop)
        if self._queue:
            # the time to wait for company is over where others wait for a thread
            for batch in self._held:
                self._submit(batch, loop)

    def _hand_over(self, loop: asyncio.AbstractEventLoop) -> None:
        while len(self._held) < self.threads + AHEAD and (job := self._queue.pop()) is not None:
            idle = len(self._held) < self.threads
            batch = Batch([job], self._batching)
            if self._batching is not None:
                self._queue.take_all(batch.join)
            self._held.add(batch)
            if idle and self._batching is not None and self._batching.window_s and not batch.full:
                batch.timer = loop.call_later(self._batching.window_s, self._window_over, batch, loop)
            else:
                self._submit(batch, loop)

    def _window_over(self, batch: Batch, loop: asyncio.AbstractEventLoop) -> None:
        try:
            self._submit(batch, loop)
        except RuntimeError:
            # closed meanwhile
            for job in batch.jobs:
                job.done.cancel()

    def _submit(self, batch: Batch, loop: asyncio.AbstractEventLoop) -> None:
        """Give a batch to the threads, unless they have it."""
        if batch.timer is not None:
            batch.timer.cancel()
        if batch.handed_over is None:
            batch.timer = None
            batch.handed_over = self._threads.submit(batch.run)
            batch.handed_over.add_done_callback(partial(self._call_back, loop, batch))

    def _call_back(self, loop: asyncio.AbstractEventLoop, batch: Batch, over: Future[Any]) -> None:
        # called in a thread, or where it was cancelled; at the end of a process the loop may be gone before the threads
        if not loop.is_closed():
            loop.call_soon_threadsafe(self._take_back, batch, over, loop)

    def _take_back(self, batch: Batch, over: Future[Any], loop: asyncio.AbstractEventLoop) -> None:
        self._held.remove(batch)
        # the future keeps its callback, and that the batch, as its thread does for a moment: what it worked on would wait for
        # them, or for the garbage collector
        batch.handed_over, jobs, batch.jobs = None, batch.jobs, []
        self._hand_over(loop)
        failed = None if over.cancelled() else over.exception()
        found = [] if over.cancelled() or failed is not None else over.result()
        for index, job in enumerate(jobs):
            job.batch = None
            if job.done.done():
                continue
            if over.cancelled():
                job.done.cancel()
            elif failed is not None:
                job.done.set_exception(failed)
            elif isinstance(found[index], Exception):
                job.done.set_exception(found[index])
            else:
                job.done.set_result(found[index])
