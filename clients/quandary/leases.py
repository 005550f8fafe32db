"""Work on tasks under leases that renew themselves while the work goes on."""

import asyncio
import threading
from collections.abc import AsyncGenerator, Generator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from datetime import timedelta

from quandary.calls import AsyncCaller, Call, Caller
from quandary.errors import (
    Cancelled,
    DeadlineExceeded,
    InvalidArgument,
    QuandaryError,
    ResourceExhausted,
    StaleLease,
    Unavailable,
)
from quandary.labels import FrameLabels, Label
from quandary.methods import Asynchronous, Synchronous, Unary
from quandary.queue_calls import QueueCalls
from quandary.v1 import queue_pb2

__all__ = ["AsyncLeasedTask", "LeasedTask", "held", "held_async", "renewal_interval"]

MIN_LEASE = timedelta(seconds=1)
MAX_LEASE = timedelta(hours=24)

# After these the lease may well be alive: the next renewal, or the use of the task, will tell.
PASSING = (Unavailable, DeadlineExceeded, ResourceExhausted, Cancelled)


def renewal_interval(duration: timedelta) -> timedelta:
    """Return the pause between renewals, a third of the lease: two may fail. Raises InvalidArgument outside 1 s to 24 h."""
    if not MIN_LEASE <= duration <= MAX_LEASE:
        raise InvalidArgument.of("duration", duration, "1 second to 24 hours")
    return duration / 3


class LeasedTaskCalls:
    """A task and what may be done with it under its lease, once.

    `task`: the task in the view asked for. A lease found lost by a renewal is raised, StaleLease as a rule, at the next use.
    """

    def __init__(self, queue: QueueCalls, task: queue_pb2.Task, duration: timedelta) -> None:
        self.task = task
        self._queue = queue
        self._duration = duration
        self._finished = False
        self._lost: QuandaryError | None = None

    @property
    def held(self) -> bool:
        """Whether the task is neither finished nor known to be lost."""
        return not self._finished and self._lost is None

    def note_failed_renewal(self, error: QuandaryError) -> None:
        """Remember that the lease is lost, unless the failure may pass or the task was finished meanwhile."""
        if self.held and not isinstance(error, PASSING):
            self._lost = error

    @Unary
    def acknowledge(
        self,
        labels: FrameLabels | Sequence[Label],
        *,
        time_spent: timedelta | None = None,
        timeout: timedelta | None = None,
    ) -> Call[queue_pb2.Task]:
        """Hand the labels in, complete inside the frame's proposals, and close the task. Raises StaleLease.

        time_spent: on this frame; None is what FrameLabels says, or not known.
        """
        self._check()
        frame = labels if isinstance(labels, FrameLabels) else FrameLabels(self.task.frame_id, labels)
        if time_spent is not None:
            frame = replace(frame, time_spent=time_spent)
        call = QueueCalls.acknowledge_task.build(self._queue, self.task.name, self.task.lease.token, frame, timeout=timeout)
        return call.then(self._finish)

    @Unary
    def skip(
        self,
        reason: queue_pb2.SkipReason.ValueType,
        comment: str = "",
        *,
        requeue: queue_pb2.RequeuePolicy.ValueType = queue_pb2.REQUEUE_POLICY_UNSPECIFIED,
        timeout: timedelta | None = None,
    ) -> Call[queue_pb2.Task]:
        """Give the task up, as `skip_task` of the client does. Raises StaleLease."""
        self._check()
        token = self.task.lease.token
        call = QueueCalls.skip_task.build(self._queue, self.task.name, token, reason, comment, requeue=requeue, timeout=timeout)
        return call.then(self._finish)

    @Unary
    def release(self, *, timeout: timedelta | None = None) -> Call[queue_pb2.Task]:
        """Give the task back unchanged, as the end of the `with` does with all that are left. Raises StaleLease."""
        self._check()
        call = QueueCalls.release_task.build(self._queue, self.task.name, self.task.lease.token, timeout=timeout)
        return call.then(self._finish)

    @Unary
    def renew(self, *, timeout: timedelta | None = None) -> Call[queue_pb2.Lease]:
        """Renew the lease now, as the `with` does by itself. Raises StaleLease."""
        self._check()
        return QueueCalls.renew_lease.build(self._queue, self.task.name, self.task.lease.token, self._duration, timeout=timeout)

    def _check(self) -> None:
        if self._lost is not None and not self._finished:
            raise self._lost

    def _finish(self, task: queue_pb2.Task) -> queue_pb2.Task:
        self._finished = True
        return task


class LeasedTask(LeasedTaskCalls, Synchronous):
    """A task under a lease that renews itself."""

    def __init__(self, caller: Caller, queue: QueueCalls, task: queue_pb2.Task, duration: timedelta) -> None:
        super().__init__(queue, task, duration)
        self._caller = caller


class AsyncLeasedTask(LeasedTaskCalls, Asynchronous):
    """A task under a lease that renews itself; its calls are awaited."""

    def __init__(self, caller: AsyncCaller, queue: QueueCalls, task: queue_pb2.Task, duration: timedelta) -> None:
        super().__init__(queue, task, duration)
        self._caller = caller


@contextmanager
def held(tasks: list[LeasedTask], interval: timedelta, timeout: timedelta) -> Generator[list[LeasedTask], None, None]:
    """Renew the leases at this interval, in a thread, while the body runs; at its end release the tasks not finished.

    timeout: of each renewal. A failed release is raised unless the body raised; a lost lease needs none.
    """
    over = threading.Event()

    def renew() -> None:
        while not over.wait(interval.total_seconds()):
            for task in tasks:
                if task.held and not over.is_set():
                    try:
                        task.renew(timeout=timeout)
                    except QuandaryError as error:
                        task.note_failed_renewal(error)

    renewing = threading.Thread(target=renew, name="quandary-lease", daemon=True)
    renewing.start()
    try:
        yield tasks
    finally:
        over.set()
        renewing.join()
        failure = _give_back(tasks)
    if failure is not None:
        raise failure


def _give_back(tasks: list[LeasedTask]) -> QuandaryError | None:
    for task in tasks:
        if task.held:
            try:
                task.release()
            except StaleLease:
                continue
            except QuandaryError as error:
                return error  # a server that cannot be reached is not asked again for every task: the leases run out
    return None


@asynccontextmanager
async def held_async(
    tasks: list[AsyncLeasedTask], interval: timedelta, timeout: timedelta
) -> AsyncGenerator[list[AsyncLeasedTask], None]:
    """Renew the leases at this interval, in a task, while the body runs; otherwise as `held`."""

    async def renew() -> None:
        while True:
            await asyncio.sleep(interval.total_seconds())
            for task in tasks:
                if task.held:
                    try:
                        await task.renew(timeout=timeout)
                    except QuandaryError as error:
                        task.note_failed_renewal(error)

    renewing = asyncio.create_task(renew())
    try:
        yield tasks
    finally:
        renewing.cancel()
        await asyncio.wait([renewing])
        failure = await _give_back_async(tasks)
    if failure is not None:
        raise failure


async def _give_back_async(tasks: list[AsyncLeasedTask]) -> QuandaryError | None:
    for task in tasks:
        if task.held:
            try:
                await task.release()
            except StaleLease:
                continue
            except QuandaryError as error:
                return error
    return None
