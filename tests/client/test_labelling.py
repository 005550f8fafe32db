from collections.abc import Callable
from datetime import timedelta
from typing import Any

import grpc
import pytest

from quandary import FrameLabels, ImageBox, InvalidArgument, Label, LabellingClient, convert
from quandary.v1 import labels_pb2, queue_pb2, view_pb2

Serve = Callable[[dict[str, Callable[..., Any]]], str]
Connect = Callable[..., LabellingClient]

NAME = "queues/active/tasks/frame-1"
TASK = queue_pb2.Task(name=NAME, frame_id="frame-1")


class Recorder:
    """Answers with one response and remembers the requests."""

    def __init__(self, response: Any) -> None:
        self.requests: list[Any] = []
        self._response = response

    def __call__(self, request: Any, context: grpc.ServicerContext) -> Any:
        self.requests.append(request)
        return self._response


def test_leasing(serve: Serve, connect: Connect) -> None:
    lease = Recorder(queue_pb2.LeaseTasksResponse(tasks=[TASK]))
    client = connect(LabellingClient, serve({"QueueService/LeaseTasks": lease}))
    assert list(client.lease_tasks()) == [TASK]
    client.lease_tasks("queues/control", 10, timedelta(hours=1), view=view_pb2.VIEW_BASIC)
    default, given = lease.requests
    assert (default.queue, default.max_tasks, default.view) == ("queues/active", 1, view_pb2.VIEW_UNSPECIFIED)
    assert default.lease_duration.ToTimedelta() == timedelta(minutes=15)
    assert (given.queue, given.max_tasks, given.view) == ("queues/control", 10, view_pb2.VIEW_BASIC)
    assert given.lease_duration.ToTimedelta() == timedelta(hours=1)


def test_an_empty_queue_leases_nothing(serve: Serve, connect: Connect) -> None:
    client = connect(LabellingClient, serve({"QueueService/LeaseTasks": Recorder(queue_pb2.LeaseTasksResponse())}))
    assert list(client.lease_tasks()) == []


def test_renewing(serve: Serve, connect: Connect) -> None:
    renew = Recorder(queue_pb2.RenewLeaseResponse(lease=queue_pb2.Lease(holder="ann")))
    client = connect(LabellingClient, serve({"QueueService/RenewLease": renew}))
    assert client.renew_lease(NAME, "t-1", timedelta(minutes=2)).holder == "ann"
    (request,) = renew.requests
    assert (request.name, request.lease_token, request.lease_duration.ToTimedelta()) == (NAME, "t-1", timedelta(minutes=2))


def test_acknowledging(serve: Serve, connect: Connect, label: Label) -> None:
    acknowledge = Recorder(queue_pb2.AcknowledgeTaskResponse(task=TASK))
    client = connect(LabellingClient, serve({"QueueService/AcknowledgeTask": acknowledge}))
    labels = FrameLabels("frame-1", [label], [ImageBox(0, 0, 5, 5)], timedelta(seconds=90), "gen-1")
    assert client.acknowledge_task(NAME, "t-1", labels) == TASK
    (request,) = acknowledge.requests
    assert (request.name, request.lease_token) == (NAME, "t-1")
    assert convert.frame_labels(request.labels) == labels


def test_skipping_and_releasing(serve: Serve, connect: Connect) -> None:
    skip, release = Recorder(queue_pb2.SkipTaskResponse(task=TASK)), Recorder(queue_pb2.ReleaseTaskResponse(task=TASK))
    client = connect(LabellingClient, serve({"QueueService/SkipTask": skip, "QueueService/ReleaseTask": release}))
    assert client.skip_task(NAME, "t-1", queue_pb2.SKIP_REASON_OTHER, "fog") == TASK
    assert client.release_task(NAME, "t-1") == TASK
    assert skip.requests == [
        queue_pb2.SkipTaskRequest(name=NAME, lease_token="t-1", reason=queue_pb2.SKIP_REASON_OTHER, comment="fog")
    ]
    assert release.requests == [queue_pb2.ReleaseTaskRequest(name=NAME, lease_token="t-1")]


def test_a_skip_says_who_may_have_the_task_next(serve: Serve, connect: Connect) -> None:
    skip = Recorder(queue_pb2.SkipTaskResponse(task=TASK))
    client = connect(LabellingClient, serve({"QueueService/SkipTask": skip}))
    client.skip_task(NAME, "t-1", queue_pb2.SKIP_REASON_AMBIGUOUS, requeue=queue_pb2.REQUEUE_POLICY_OTHERS)
    assert [request.requeue for request in skip.requests] == [queue_pb2.REQUEUE_POLICY_OTHERS]


def test_putting_a_task_forward(serve: Serve, connect: Connect) -> None:
    pin, band = Recorder(queue_pb2.PinTaskResponse(task=TASK)), Recorder(queue_pb2.SetTaskBandResponse(task=TASK))
    client = connect(LabellingClient, serve({"QueueService/PinTask": pin, "QueueService/SetTaskBand": band}))
    assert client.pin_task(NAME, comment="recall") == TASK
    client.pin_task(NAME, pinned=False)
    assert client.set_task_band(NAME, queue_pb2.PRIORITY_BAND_CAMPAIGN, "snow") == TASK
    assert pin.requests == [
        queue_pb2.PinTaskRequest(name=NAME, pinned=True, comment="recall"),
        queue_pb2.PinTaskRequest(name=NAME),
    ]
    expected = queue_pb2.SetTaskBandRequest(name=NAME, band=queue_pb2.PRIORITY_BAND_CAMPAIGN, comment="snow")
    assert band.requests == [expected]


def test_putting_a_task_back(serve: Serve, connect: Connect) -> None:
    requeue = Recorder(queue_pb2.RequeueTaskResponse(task=TASK))
    client = connect(LabellingClient, serve({"QueueService/RequeueTask": requeue}))
    assert client.requeue_task(NAME, "the disk is back") == TASK
    assert requeue.requests == [queue_pb2.RequeueTaskRequest(name=NAME, comment="the disk is back")]


def test_getting_a_task(serve: Serve, connect: Connect) -> None:
    get = Recorder(queue_pb2.GetTaskResponse(task=TASK))
    client = connect(LabellingClient, serve({"QueueService/GetTask": get}))
    assert client.get_task(NAME, view=view_pb2.VIEW_BASIC) == TASK
    assert get.requests == [queue_pb2.GetTaskRequest(name=NAME, view=view_pb2.VIEW_BASIC)]


def test_tasks_are_listed_over_all_pages(serve: Serve, connect: Connect) -> None:
    asked = []

    def list_tasks(request: queue_pb2.ListTasksRequest, context: Any) -> queue_pb2.ListTasksResponse:
        asked.append((request.queue, request.state, request.page_token))
        if not request.page_token:
            return queue_pb2.ListTasksResponse(tasks=[TASK, TASK], next_page_token="more")
        return queue_pb2.ListTasksResponse(tasks=[TASK])

    client = connect(LabellingClient, serve({"QueueService/ListTasks": list_tasks}))
    assert list(client.list_tasks("control", state=queue_pb2.TASK_STATE_LEASED)) == [TASK] * 3
    assert asked == [("queues/control", queue_pb2.TASK_STATE_LEASED, token) for token in ("", "more")]


def test_counts(serve: Serve, connect: Connect) -> None:
    stats = queue_pb2.QueueStats(name="queues/active", waiting=3)
    one, every = Recorder(queue_pb2.GetQueueStatsResponse(stats=stats)), Recorder(queue_pb2.ListQueuesResponse(queues=[stats]))
    client = connect(LabellingClient, serve({"QueueService/GetQueueStats": one, "QueueService/ListQueues": every}))
    assert client.queue_stats() == stats
    assert list(client.list_queues()) == [stats]
    assert [request.queue for request in one.requests] == ["queues/active"]


def test_labels_are_submitted(serve: Serve, connect: Connect, label: Label) -> None:
    submit = Recorder(labels_pb2.SubmitLabelsResponse(stored_frames=2))
    client = connect(LabellingClient, serve({"LabelService/SubmitLabels": submit}))
    frames = [FrameLabels("frame-1", [label]), FrameLabels("frame-2")]
    assert client.submit_labels(frames).stored_frames == 2
    assert [convert.frame_labels(frame) for frame in submit.requests[0].frames] == [
        FrameLabels("frame-1", [label], []),
        FrameLabels("frame-2", [], []),
    ]


def test_labels_are_read_with_who_gave_them(serve: Serve, connect: Connect) -> None:
    stored = labels_pb2.FrameLabels(frame_id="frame-1", labeller="ann", control=True)
    get = Recorder(labels_pb2.GetFrameLabelsResponse(frame=stored))
    pages = Recorder(labels_pb2.ListFrameLabelsResponse(frames=[stored, stored], total_frames=2))
    client = connect(LabellingClient, serve({"LabelService/GetFrameLabels": get, "LabelService/ListFrameLabels": pages}))
    assert client.get_frame_labels("frame-1") == stored
    assert list(client.list_frame_labels(page_size=7)) == [stored, stored]
    assert (get.requests[0].frame_id, pages.requests[0].page_size) == ("frame-1", 7)


def test_a_malformed_queue_is_refused_before_anything_is_sent(connect: Connect) -> None:
    client = connect(LabellingClient, "127.0.0.1:1")
    for call in (client.lease_tasks, client.list_tasks, client.queue_stats):
        with pytest.raises(InvalidArgument) as error:
            call("queues/active/tasks/f")
        assert error.value.violations[0].field == "queue"
