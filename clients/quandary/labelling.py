"""Clients of QueueService and LabelService."""

from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager
from datetime import timedelta
from typing import Any

from quandary.clients import AsyncClient, Client
from quandary.leases import AsyncLeasedTask, LeasedTask, held, held_async, renewal_interval
from quandary.queue_calls import DEFAULT_LEASE, LabelCalls, QueueCalls
from quandary.v1 import labels_pb2_grpc, queue_pb2_grpc, view_pb2

__all__ = ["AsyncLabellingClient", "LabellingClient"]


class LabellingCalls(QueueCalls, LabelCalls):
    """The calls that both labelling clients make in the same way."""

    def _use(self, channel: Any) -> None:
        self._queues = queue_pb2_grpc.QueueServiceStub(channel)
        self._labels = labels_pb2_grpc.LabelServiceStub(channel)


class LabellingClient(LabellingCalls, Client):
    """Works the ranked queues and hands labels in."""

    @contextmanager
    def lease(
        self,
        queue: str = "active",
        max_tasks: int = 1,
        duration: timedelta = DEFAULT_LEASE,
        *,
        view: view_pb2.View.ValueType = view_pb2.VIEW_UNSPECIFIED,
        timeout: timedelta | None = None,
    ) -> Generator[list[LeasedTask], None, None]:
        """Lease tasks for the body of a `with`, as `lease_tasks` does; the list is empty where the queue is.

        While the body runs, a thread renews the leases every third of `duration` (1 second to 24 hours). At its end, also by
        an exception, the tasks not acknowledged or skipped are released. A lease lost meanwhile is raised as StaleLease at
        the next use of its task.
        """
        interval = renewal_interval(duration)
        found = self.lease_tasks(queue, max_tasks, duration, view=view, timeout=timeout)
        tasks = [LeasedTask(self._caller, self, task, duration) for task in found]
        with held(tasks, interval, min(interval, self._timeout)):
            yield tasks


class AsyncLabellingClient(LabellingCalls, AsyncClient):
    """Works the ranked queues and hands labels in, awaited."""

    @asynccontextmanager
    async def lease(
        self,
        queue: str = "active",
        max_tasks: int = 1,
        duration: timedelta = DEFAULT_LEASE,
        *,
        view: view_pb2.View.ValueType = view_pb2.VIEW_UNSPECIFIED,
        timeout: timedelta | None = None,
    ) -> AsyncGenerator[list[AsyncLeasedTask], None]:
        """Lease tasks for the body of an `async with`, as LabellingClient.lease does; a task of the loop renews them."""
        interval = renewal_interval(duration)
        found = await self.lease_tasks(queue, max_tasks, duration, view=view, timeout=timeout)
        tasks = [AsyncLeasedTask(self._caller, self, task, duration) for task in found]
        async with held_async(tasks, interval, min(interval, self._timeout)):
            yield tasks
