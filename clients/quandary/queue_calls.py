"""The calls of QueueService and LabelService, described once for both labelling clients."""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

from quandary.calls import Call, Listing
from quandary.convert import duration_message, frame_labels_message, timestamp_message
from quandary.labels import FrameLabels
from quandary.methods import Paged, Streamed, Unary
from quandary.names import queue_name
from quandary.v1 import labels_pb2, labels_pb2_grpc, queue_pb2, queue_pb2_grpc, view_pb2

__all__ = ["DEFAULT_LEASE", "LabelCalls", "QueueCalls"]

DEFAULT_LEASE = timedelta(minutes=15)


class QueueCalls:
    """The calls of QueueService. Queues go by id (active) or name (queues/active), tasks by the name that they come with."""

    _queues: queue_pb2_grpc.QueueServiceStub

    @Unary
    def lease_tasks(
        self,
        queue: str = "active",
        max_tasks: int = 1,
        duration: timedelta = DEFAULT_LEASE,
        *,
        view: view_pb2.View.ValueType = view_pb2.VIEW_UNSPECIFIED,
        timeout: timedelta | None = None,
    ) -> Call[Sequence[queue_pb2.Task]]:
        """Lease up to max_tasks tasks, the first in lease order, each with its token; none where the queue is empty.

        Nothing renews these leases: `lease` does. Not retried: a lost answer would lease twice. The FULL view by default.
        """
        request = queue_pb2.LeaseTasksRequest(
            queue=queue_name(queue), max_tasks=max_tasks, lease_duration=duration_message(duration), view=view
        )
        return Call.of(self._queues.LeaseTasks, request, lambda response: response.tasks, timeout)

    @Unary
    def renew_lease(
        self, name: str, lease_token: str, duration: timedelta = DEFAULT_LEASE, *, timeout: timedelta | None = None
    ) -> Call[queue_pb2.Lease]:
        """Let a lease end `duration` from now; raises StaleLease where it has expired."""
        request = queue_pb2.RenewLeaseRequest(name=name, lease_token=lease_token, lease_duration=duration_message(duration))
        return Call.of(self._queues.RenewLease, request, lambda response: response.lease, timeout)

    @Unary
    def acknowledge_task(
        self, name: str, lease_token: str, labels: FrameLabels, *, timeout: timedelta | None = None
    ) -> Call[queue_pb2.Task]:
        """Hand the labels in and close the task; the same again with the same token is fine. Raises StaleLease."""
        request = queue_pb2.AcknowledgeTaskRequest(name=name, lease_token=lease_token, labels=frame_labels_message(labels))
        return Call.of(self._queues.AcknowledgeTask, request, lambda response: response.task, timeout)

    @Unary
    def skip_task(
        self,
        name: str,
        lease_token: str,
        reason: queue_pb2.SkipReason.ValueType,
        comment: str = "",
        *,
        requeue: queue_pb2.RequeuePolicy.ValueType = queue_pb2.REQUEUE_POLICY_UNSPECIFIED,
        timeout: timedelta | None = None,
    ) -> Call[queue_pb2.Task]:
        """Give a task up, by default for good; SKIP_REASON_OTHER needs a comment. Raises StaleLease.

        requeue: who may get it next; REQUEUE_POLICY_OTHERS: anybody but the subject of this client's token.
        """
        request = queue_pb2.SkipTaskRequest(name=name, lease_token=lease_token, reason=reason, comment=comment, requeue=requeue)
        return Call.of(self._queues.SkipTask, request, lambda response: response.task, timeout)

    @Unary
    def release_task(self, name: str, lease_token: str, *, timeout: timedelta | None = None) -> Call[queue_pb2.Task]:
        """Give a task back unchanged; it waits again at once. Raises StaleLease."""
        request = queue_pb2.ReleaseTaskRequest(name=name, lease_token=lease_token)
        return Call.of(self._queues.ReleaseTask, request, lambda response: response.task, timeout)

    @Unary
    def pin_task(
        self, name: str, pinned: bool = True, comment: str = "", *, timeout: timedelta | None = None
    ) -> Call[queue_pb2.Task]:
        """Put a task that waits in front of all that are not pinned, or take the pin away. Needs the role admin.

        comment: why, for the audit. Raises WrongState unless it waits.
        """
        request = queue_pb2.PinTaskRequest(name=name, pinned=pinned, comment=comment)
        return Call.of(self._queues.PinTask, request, lambda response: response.task, timeout)

    @Unary
    def set_task_band(
        self, name: str, band: queue_pb2.PriorityBand.ValueType, comment: str = "", *, timeout: timedelta | None = None
    ) -> Call[queue_pb2.Task]:
        """Move a task that waits to a priority band. Needs the role admin; otherwise as `pin_task`."""
        request = queue_pb2.SetTaskBandRequest(name=name, band=band, comment=comment)
        return Call.of(self._queues.SetTaskBand, request, lambda response: response.task, timeout)

    @Unary
    def requeue_task(self, name: str, comment: str = "", *, timeout: timedelta | None = None) -> Call[queue_pb2.Task]:
        """Let a task that was skipped for good, or is a dead letter, wait again. Needs the role admin.

        comment: why, for the audit. Raises WrongState where it is leased or has labels.
        """
        request = queue_pb2.RequeueTaskRequest(name=name, comment=comment)
        return Call.of(self._queues.RequeueTask, request, lambda response: response.task, timeout)

    @Unary
    def get_task(
        self,
        name: str,
        *,
        view: view_pb2.View.ValueType = view_pb2.VIEW_UNSPECIFIED,
        timeout: timedelta | None = None,
    ) -> Call[queue_pb2.Task]:
        """Return one task, in the FULL view by default; raises NotFound. `names.task_name` makes the name of a frame's."""
        request = queue_pb2.GetTaskRequest(name=name, view=view)
        return Call.of(self._queues.GetTask, request, lambda response: response.task, timeout)

    @Paged
    def list_tasks(
        self,
        queue: str = "active",
        *,
        state: queue_pb2.TaskState.ValueType = queue_pb2.TASK_STATE_UNSPECIFIED,
        view: view_pb2.View.ValueType = view_pb2.VIEW_UNSPECIFIED,
        page_size: int = 0,
        timeout: timedelta | None = None,
    ) -> Listing[queue_pb2.Task]:
        """List the tasks in one state, by default those that wait, in lease order and the BASIC view."""
        request = queue_pb2.ListTasksRequest(queue=queue_name(queue), state=state, view=view, page_size=page_size)
        return Listing.of(self._queues.ListTasks, request, lambda page: page.tasks, timeout)

    @Unary
    def queue_stats(self, queue: str = "active", *, timeout: timedelta | None = None) -> Call[queue_pb2.QueueStats]:
        """Count a queue; raises NotFound."""
        request = queue_pb2.GetQueueStatsRequest(queue=queue_name(queue))
        return Call.of(self._queues.GetQueueStats, request, lambda response: response.stats, timeout)

    @Unary
    def list_queues(self, *, timeout: timedelta | None = None) -> Call[Sequence[queue_pb2.QueueStats]]:
        """Return the counts of every queue."""
        request = queue_pb2.ListQueuesRequest()
        return Call.of(self._queues.ListQueues, request, lambda response: response.queues, timeout)

    @Paged
    def list_audit_events(
        self, task: str = "", *, newest_first: bool = False, page_size: int = 0, timeout: timedelta | None = None
    ) -> Listing[queue_pb2.AuditEvent]:
        """List who did what to which task, oldest first by default; task: the name of one, by default all."""
        request = queue_pb2.ListAuditEventsRequest(task=task, page_size=page_size, newest_first=newest_first)
        return Listing.of(self._queues.ListAuditEvents, request, lambda page: page.events, timeout)


class LabelCalls:
    """The calls of LabelService."""

    _labels: labels_pb2_grpc.LabelServiceStub

    @Unary
    def submit_labels(
        self, frames: Iterable[FrameLabels], *, timeout: timedelta | None = None
    ) -> Call[labels_pb2.SubmitLabelsResponse]:
        """Store the labels of 1 to 500 frames that nobody has leased (an import), all or none; raises NotFound."""
        request = labels_pb2.SubmitLabelsRequest(frames=[frame_labels_message(frame) for frame in frames])
        return Call.of(self._labels.SubmitLabels, request, lambda response: response, timeout)

    @Unary
    def get_frame_labels(self, frame_id: str, *, timeout: timedelta | None = None) -> Call[labels_pb2.FrameLabels]:
        """Return the labels of one frame, and who gave them when; raises NotFound."""
        request = labels_pb2.GetFrameLabelsRequest(frame_id=frame_id)
        return Call.of(self._labels.GetFrameLabels, request, lambda response: response.frame, timeout)

    @Paged
    def list_frame_labels(self, *, page_size: int = 0, timeout: timedelta | None = None) -> Listing[labels_pb2.FrameLabels]:
        """List the labelled frames, oldest first."""
        request = labels_pb2.ListFrameLabelsRequest(page_size=page_size)
        return Listing.of(self._labels.ListFrameLabels, request, lambda page: page.frames, timeout)

    @Streamed
    def stream_frame_labels(
        self, since: datetime | None = None, *, timeout: timedelta | None = None
    ) -> Call[labels_pb2.FrameLabels]:
        """Yield all labelled frames, or those labelled since a time, oldest first. timeout: for all of it, None is no limit."""
        request = labels_pb2.StreamFrameLabelsRequest(since=None if since is None else timestamp_message(since))
        return Call.of(self._labels.StreamFrameLabels, request, lambda response: response.frame, timeout)

    @Streamed
    def stream_labelled_frames(
        self, since: datetime | None = None, *, timeout: timedelta | None = None
    ) -> Call[labels_pb2.StreamFrameLabelsResponse]:
        """Yield labelled frames as `stream_frame_labels` does, each with the record that it was labelled for."""
        since_message = None if since is None else timestamp_message(since)
        request = labels_pb2.StreamFrameLabelsRequest(since=since_message, view=view_pb2.VIEW_FULL)
        return Call.of(self._labels.StreamFrameLabels, request, lambda response: response, timeout)
