"""QueueService: convert, call, convert."""

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Protocol

from google.protobuf.duration_pb2 import Duration

from quandary import convert
from quandary.errors import InvalidArgument, within
from quandary.v1 import queue_pb2, queue_pb2_grpc, view_pb2
from quandary_server.auth import Caller, Role
from quandary_server.leasing.events import Requeue
from quandary_server.leasing.order import PriorityBand
from quandary_server.selector.label_check import LabelCheck
from quandary_server.selector.labelled_index import LabelledIndex
from quandary_server.storage.store import Store
from quandary_server.storage.task_values import CONTROL_QUEUE
from quandary_server.wire.door import Door, unary
from quandary_server.wire.names import identifier_of, task_of
from quandary_server.wire.requests import labels_of, view_of
from quandary_server.wire.tasks import audit_message, lease_message, stats_message, task_message, task_state

DEFAULT_LEASE = timedelta(minutes=15)
MIN_LEASE, MAX_LEASE = timedelta(seconds=1), timedelta(hours=24)
MAX_TASKS = 100
MAX_COMMENT_CHARACTERS = 500
DEFAULT_PAGE = 50


class SelectorState(Protocol):
    """What the counts of a queue tell of the selector itself."""

    def generation(self) -> str:
        """Return the newest generation seen."""

    def ranked_generation(self, queue: str) -> str:
        """Return the generation of a queue's last query."""

    def lag(self) -> int:
        """Return how many records wait in the log."""


class QueueServicer(queue_pb2_grpc.QueueServiceServicer):
    """The service over the store."""

    def __init__(
        self,
        door: Door,
        store: Store,
        state: SelectorState,
        clock: Callable[[], datetime],
        labelled: LabelledIndex | None = None,
    ) -> None:
        self.door, self._store, self._state, self._clock, self._check = door, store, state, clock, LabelCheck(store)
        self._labelled = labelled or LabelledIndex(store.embeddings, state.generation)

    @unary(Role.LABELLER, queue_pb2.LeaseTasksResponse)
    async def LeaseTasks(self, request: queue_pb2.LeaseTasksRequest, caller: Caller) -> queue_pb2.LeaseTasksResponse:
        """Lease the first tasks in lease order."""
        queue = identifier_of("queue", request.queue, "queues")
        count = request.max_tasks or 1
        if not 1 <= count <= MAX_TASKS:
            raise InvalidArgument.of("max_tasks", count, f"1 to {MAX_TASKS}")
        view = view_of(request.view, view_pb2.VIEW_FULL)
        leased = await asyncio.to_thread(
            self._store.leases.lease,
            queue,
            holder=caller.subject,
            max_tasks=count,
            duration=_lease_duration(request),
            now=self._clock(),
        )
        return queue_pb2.LeaseTasksResponse(tasks=[task_message(task, view, with_token=True) for task in leased])

    @unary(Role.LABELLER, queue_pb2.RenewLeaseResponse)
    async def RenewLease(self, request: queue_pb2.RenewLeaseRequest, caller: Caller) -> queue_pb2.RenewLeaseResponse:
        """Extend a lease."""
        task = await asyncio.to_thread(
            self._store.leases.renew,
            *task_of("name", request.name),
            request.lease_token,
            subject=caller.subject,
            duration=_lease_duration(request),
            now=self._clock(),
        )
        lease = task.status.lease
        return queue_pb2.RenewLeaseResponse(lease=lease_message(lease, with_token=True) if lease else None)

    @unary(Role.LABELLER, queue_pb2.AcknowledgeTaskResponse)
    async def AcknowledgeTask(
        self, request: queue_pb2.AcknowledgeTaskRequest, caller: Caller
    ) -> queue_pb2.AcknowledgeTaskResponse:
        """Store the labels and close the task."""
        if not request.HasField("labels"):
            raise InvalidArgument.of("labels", "missing", "set")
        queue, frame_id = task_of("name", request.name)
        with within("labels"):
            labels = labels_of(request.labels)
            await asyncio.to_thread(self._check.of_task, queue, frame_id, labels, now=self._clock())
        task = await asyncio.to_thread(
            self._store.leases.acknowledge,
            queue,
            frame_id,
            request.lease_token,
            labels,
            subject=caller.subject,
            now=self._clock(),
        )
        return queue_pb2.AcknowledgeTaskResponse(task=task_message(task, view_pb2.VIEW_BASIC))

    @unary(Role.LABELLER, queue_pb2.SkipTaskResponse)
    async def SkipTask(self, request: queue_pb2.SkipTaskRequest, caller: Caller) -> queue_pb2.SkipTaskResponse:
        """Give a task up, for good or for others to try."""
        task = await asyncio.to_thread(
            self._store.leases.skip,
            *task_of("name", request.name),
            request.lease_token,
            reason=_skip_reason(request),
            comment=_comment(request),
            requeue=_requeue(request),
            labellers=self.door.subjects(Role.LABELLER),
            subject=caller.subject,
            now=self._clock(),
        )
        return queue_pb2.SkipTaskResponse(task=task_message(task, view_pb2.VIEW_BASIC))

    @unary(Role.LABELLER, queue_pb2.ReleaseTaskResponse)
    async def ReleaseTask(self, request: queue_pb2.ReleaseTaskRequest, caller: Caller) -> queue_pb2.ReleaseTaskResponse:
        """Give a task back."""
        task = await asyncio.to_thread(
            self._store.leases.release,
            *task_of("name", request.name),
            request.lease_token,
            subject=caller.subject,
            now=self._clock(),
        )
        return queue_pb2.ReleaseTaskResponse(task=task_message(task, view_pb2.VIEW_BASIC))

    @unary(Role.ADMIN, queue_pb2.PinTaskResponse)
    async def PinTask(self, request: queue_pb2.PinTaskRequest, caller: Caller) -> queue_pb2.PinTaskResponse:
        """Put a task in front of all that are not pinned, or back."""
        task = await asyncio.to_thread(
            self._store.priorities.pin,
            *task_of("name", request.name),
            pinned=request.pinned,
            comment=_comment(request),
            subject=caller.subject,
            now=self._clock(),
        )
        return queue_pb2.PinTaskResponse(task=task_message(task, view_pb2.VIEW_BASIC))

    @unary(Role.ADMIN, queue_pb2.SetTaskBandResponse)
    async def SetTaskBand(self, request: queue_pb2.SetTaskBandRequest, caller: Caller) -> queue_pb2.SetTaskBandResponse:
        """Move a task to a priority band."""
        task = await asyncio.to_thread(
            self._store.priorities.set_band,
            *task_of("name", request.name),
            _band(request),
            comment=_comment(request),
            subject=caller.subject,
            now=self._clock(),
        )
        return queue_pb2.SetTaskBandResponse(task=task_message(task, view_pb2.VIEW_BASIC))

    @unary(Role.ADMIN, queue_pb2.RequeueTaskResponse)
    async def RequeueTask(self, request: queue_pb2.RequeueTaskRequest, caller: Caller) -> queue_pb2.RequeueTaskResponse:
        """Let a task that ended without labels wait again."""
        task = await asyncio.to_thread(
            self._store.priorities.requeue,
            *task_of("name", request.name),
            comment=_comment(request),
            subject=caller.subject,
            now=self._clock(),
        )
        return queue_pb2.RequeueTaskResponse(task=task_message(task, view_pb2.VIEW_BASIC))

    @unary(Role.LABELLER, queue_pb2.GetTaskResponse)
    async def GetTask(self, request: queue_pb2.GetTaskRequest, caller: Caller) -> queue_pb2.GetTaskResponse:
        """Return one task."""
        queue, frame_id = task_of("name", request.name)
        view = view_of(request.view, view_pb2.VIEW_FULL)
        task = await asyncio.to_thread(self._store.tasks.get, queue, frame_id, now=self._clock())
        full = view == view_pb2.VIEW_FULL
        message = task_message(task, view, nearest=await asyncio.to_thread(self._labelled.nearest, task) if full else None)
        if full:
            message.stands_in_for = await asyncio.to_thread(self._store.audit.stands_in_for, queue, task.place)
        return queue_pb2.GetTaskResponse(task=message)

    @unary(Role.LABELLER, queue_pb2.ListTasksResponse)
    async def ListTasks(self, request: queue_pb2.ListTasksRequest, caller: Caller) -> queue_pb2.ListTasksResponse:
        """Return a page of tasks in lease order."""
        queue = identifier_of("queue", request.queue, "queues")
        try:
            state = task_state(request.state or queue_pb2.TASK_STATE_WAITING)
        except ValueError:
            raise InvalidArgument.of("state", request.state, "a TaskState") from None
        view = view_of(request.view, view_pb2.VIEW_BASIC)
        page = await asyncio.to_thread(
            self._store.tasks.list,
            queue,
            state,
            page_size=request.page_size or DEFAULT_PAGE,
            page_token=request.page_token,
            now=self._clock(),
        )
        tasks = [task_message(task, view) for task in page.items]
        return queue_pb2.ListTasksResponse(tasks=tasks, next_page_token=page.next_token)

    @unary(Role.LABELLER, queue_pb2.GetQueueStatsResponse)
    async def GetQueueStats(self, request: queue_pb2.GetQueueStatsRequest, caller: Caller) -> queue_pb2.GetQueueStatsResponse:
        """Count a queue."""
        queue = identifier_of("queue", request.queue, "queues")
        return queue_pb2.GetQueueStatsResponse(stats=await asyncio.to_thread(self._stats, queue))

    @unary(Role.LABELLER, queue_pb2.ListQueuesResponse)
    async def ListQueues(self, request: queue_pb2.ListQueuesRequest, caller: Caller) -> queue_pb2.ListQueuesResponse:
        """Count every queue."""
        names = await asyncio.to_thread(self._store.tasks.queues)
        return queue_pb2.ListQueuesResponse(queues=[await asyncio.to_thread(self._stats, name) for name in names])

    @unary(Role.LABELLER, queue_pb2.ListAuditEventsResponse)
    async def ListAuditEvents(
        self, request: queue_pb2.ListAuditEventsRequest, caller: Caller
    ) -> queue_pb2.ListAuditEventsResponse:
        """Return a page of the audit, oldest first by default."""
        page = await asyncio.to_thread(
            self._store.audit.list,
            task=task_of("task", request.task) if request.task else None,
            newest_first=request.newest_first,
            page_size=request.page_size or DEFAULT_PAGE,
            page_token=request.page_token,
        )
        events = map(audit_message, page.items)
        return queue_pb2.ListAuditEventsResponse(events=events, next_page_token=page.next_token)

    def _stats(self, queue: str) -> queue_pb2.QueueStats:
        ranked = queue != CONTROL_QUEUE
        generation = self._state.generation() if ranked else ""
        stats = self._store.tasks.stats(queue, generation=generation, now=self._clock())
        return stats_message(
            stats,
            generation=generation,
            ranked_generation=self._state.ranked_generation(queue) if ranked else "",
            log_lag=self._state.lag(),
        )


def _lease_duration(request: queue_pb2.LeaseTasksRequest | queue_pb2.RenewLeaseRequest) -> timedelta:
    if not request.HasField("lease_duration"):
        return DEFAULT_LEASE
    message: Duration = request.lease_duration
    with within("lease_duration"):
        length = convert.duration(message)
    if not MIN_LEASE <= length <= MAX_LEASE:
        raise InvalidArgument.of("lease_duration", length, f"{MIN_LEASE} to {MAX_LEASE}")
    return length


def _skip_reason(request: queue_pb2.SkipTaskRequest) -> str:
    value = queue_pb2.SkipReason.DESCRIPTOR.values_by_number.get(request.reason)
    if value is None or value.number == queue_pb2.SKIP_REASON_UNSPECIFIED:
        raise InvalidArgument.of("reason", request.reason, "a SkipReason")
    if value.number == queue_pb2.SKIP_REASON_OTHER and not _comment(request):
        raise InvalidArgument.of("comment", "empty", "set, for SKIP_REASON_OTHER")
    return value.name.removeprefix("SKIP_REASON_").lower()


def _requeue(request: queue_pb2.SkipTaskRequest) -> Requeue:
    value = queue_pb2.RequeuePolicy.DESCRIPTOR.values_by_number.get(request.requeue)
    if value is None:
        raise InvalidArgument.of("requeue", request.requeue, "a RequeuePolicy")
    if value.number == queue_pb2.REQUEUE_POLICY_UNSPECIFIED:
        return Requeue.NEVER
    return Requeue[value.name.removeprefix("REQUEUE_POLICY_")]


def _band(request: queue_pb2.SetTaskBandRequest) -> PriorityBand:
    value = queue_pb2.PriorityBand.DESCRIPTOR.values_by_number.get(request.band)
    if value is None or value.number == queue_pb2.PRIORITY_BAND_UNSPECIFIED:
        raise InvalidArgument.of("band", request.band, "a PriorityBand")
    return PriorityBand[value.name.removeprefix("PRIORITY_BAND_")]


def _comment(
    request: queue_pb2.SkipTaskRequest | queue_pb2.PinTaskRequest | queue_pb2.SetTaskBandRequest | queue_pb2.RequeueTaskRequest,
) -> str:
    if len(request.comment) > MAX_COMMENT_CHARACTERS:
        raise InvalidArgument.of("comment", f"{len(request.comment)} characters", f"at most {MAX_COMMENT_CHARACTERS}")
    if "\0" in request.comment:  # which PostgreSQL keeps in no text
        raise InvalidArgument.of("comment", repr(request.comment), "text without NUL")
    return request.comment
