import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any, NoReturn

import grpc
import pytest

from quandary import (
    FrameLabels,
    InvalidArgument,
    Label,
    LabellingClient,
    NotFound,
    Overloaded,
    QuandaryError,
    StaleLease,
    convert,
)
from quandary.leases import renewal_interval
from quandary.v1 import queue_pb2

Serve = Callable[[dict[str, Callable[..., Any]]], str]
Connect = Callable[..., LabellingClient]
Refuse = Callable[[grpc.ServicerContext, QuandaryError], NoReturn]

SHORT = timedelta(seconds=1)
PATIENCE_S = 60


class Queue:
    """A queue that leases frame-0, frame-1, ... and remembers what was done to them, in order."""

    def __init__(self, refuse: Refuse) -> None:
        self.done: list[tuple[str, str]] = []
        self.labels: list[FrameLabels] = []
        self.renewals = 0
        self.renewed = threading.Semaphore(0)
        self.durations: set[timedelta] = set()
        self.renewal_errors: dict[str, QuandaryError] = {}
        self.release_error: QuandaryError | None = None
        self._refuse = refuse

    def lease(self, request: queue_pb2.LeaseTasksRequest, context: Any) -> queue_pb2.LeaseTasksResponse:
        return queue_pb2.LeaseTasksResponse(
            tasks=[
                queue_pb2.Task(
                    name=f"{request.queue}/tasks/frame-{i}", frame_id=f"frame-{i}", lease=queue_pb2.Lease(token=f"token-{i}")
                )
                for i in range(request.max_tasks)
            ]
        )

    def renew(self, request: queue_pb2.RenewLeaseRequest, context: grpc.ServicerContext) -> queue_pb2.RenewLeaseResponse:
        self.durations.add(request.lease_duration.ToTimedelta())
        self.renewals += 1
        self.renewed.release()
        if error := self.renewal_errors.get(request.lease_token):
            self._refuse(context, error)
        return queue_pb2.RenewLeaseResponse(lease=queue_pb2.Lease(token=request.lease_token))

    def acknowledge(self, request: queue_pb2.AcknowledgeTaskRequest, context: Any) -> queue_pb2.AcknowledgeTaskResponse:
        self.done.append(("acknowledge", request.lease_token))
        self.labels.append(convert.frame_labels(request.labels))
        return queue_pb2.AcknowledgeTaskResponse(task=queue_pb2.Task(name=request.name))

    def skip(self, request: queue_pb2.SkipTaskRequest, context: Any) -> queue_pb2.SkipTaskResponse:
        self.done.append((f"skip {request.reason} {request.comment}", request.lease_token))
        return queue_pb2.SkipTaskResponse(task=queue_pb2.Task(name=request.name))

    def release(self, request: queue_pb2.ReleaseTaskRequest, context: grpc.ServicerContext) -> queue_pb2.ReleaseTaskResponse:
        self.done.append(("release", request.lease_token))
        if self.release_error is not None:
            self._refuse(context, self.release_error)
        return queue_pb2.ReleaseTaskResponse(task=queue_pb2.Task(name=request.name))

    def wait_for_renewals(self, count: int) -> None:
        for _ in range(count):
            assert self.renewed.acquire(timeout=PATIENCE_S)


@pytest.fixture
def queue(refuse: Refuse) -> Queue:
    return Queue(refuse)


@pytest.fixture
def client(serve: Serve, connect: Connect, queue: Queue) -> LabellingClient:
    behaviours: dict[str, Callable[..., Any]] = {
        "QueueService/LeaseTasks": queue.lease,
        "QueueService/RenewLease": queue.renew,
        "QueueService/AcknowledgeTask": queue.acknowledge,
        "QueueService/SkipTask": queue.skip,
        "QueueService/ReleaseTask": queue.release,
    }
    return connect(LabellingClient, serve(behaviours))


def test_what_is_not_finished_is_released_at_the_end(client: LabellingClient, queue: Queue, label: Label) -> None:
    with client.lease("control", max_tasks=4) as (first, second, third, fourth):
        assert first.task.name == "queues/control/tasks/frame-0"
        assert second.acknowledge([label]).name == second.task.name
        assert third.skip(queue_pb2.SKIP_REASON_OTHER, "fog").name == third.task.name
        assert fourth.release().name == fourth.task.name
    assert queue.done == [
        ("acknowledge", "token-1"),
        (f"skip {queue_pb2.SKIP_REASON_OTHER} fog", "token-2"),
        ("release", "token-3"),
        ("release", "token-0"),
    ]


def test_an_empty_queue_is_an_empty_list(serve: Serve, connect: Connect) -> None:
    target = serve({"QueueService/LeaseTasks": lambda _, __: queue_pb2.LeaseTasksResponse()})
    with connect(LabellingClient, target).lease() as tasks:
        assert tasks == []


def test_labels_of_a_task_take_its_frame_id(client: LabellingClient, queue: Queue, label: Label) -> None:
    with client.lease(max_tasks=3) as (first, second, third):
        first.acknowledge([label], time_spent=timedelta(seconds=40))
        second.acknowledge(FrameLabels("frame-1", [label], time_spent=timedelta(seconds=5), prelabel_generation="gen-1"))
        third.acknowledge(FrameLabels("frame-2", [label], time_spent=timedelta(seconds=5)), time_spent=timedelta(seconds=6))
    assert queue.labels == [
        FrameLabels("frame-0", [label], [], timedelta(seconds=40)),
        FrameLabels("frame-1", [label], [], timedelta(seconds=5), "gen-1"),
        FrameLabels("frame-2", [label], [], timedelta(seconds=6)),
    ]


def test_an_exception_in_the_body_releases_too(client: LabellingClient, queue: Queue) -> None:
    def body() -> None:
        with client.lease(max_tasks=2) as (first, _):
            first.acknowledge([])
            raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        body()
    assert queue.done == [("acknowledge", "token-0"), ("release", "token-1")]


def test_an_exception_in_the_body_is_not_hidden_by_a_failed_release(client: LabellingClient, queue: Queue) -> None:
    queue.release_error = NotFound("no such task")
    with pytest.raises(KeyError, match="mine"), client.lease():
        raise KeyError("mine")


def test_a_failed_release_is_raised(client: LabellingClient, queue: Queue) -> None:
    queue.release_error = NotFound("no such task")
    with pytest.raises(NotFound), client.lease():
        pass


def test_a_lease_that_is_gone_needs_no_release(client: LabellingClient, queue: Queue) -> None:
    queue.release_error = StaleLease("expired")
    with client.lease(max_tasks=2):
        pass
    assert queue.done == [("release", "token-0"), ("release", "token-1")]


def test_leases_are_renewed_while_the_body_runs_and_no_longer(client: LabellingClient, queue: Queue) -> None:
    with client.lease(max_tasks=2, duration=SHORT):
        queue.wait_for_renewals(5)
    assert queue.durations == {SHORT}
    renewals = queue.renewals
    with client.lease(max_tasks=1, duration=timedelta(hours=1)) as (task,):
        assert task.held
    assert queue.renewals == renewals


def test_a_finished_task_is_not_renewed(client: LabellingClient, queue: Queue) -> None:
    queue.renewal_errors["token-0"] = StaleLease("it was acknowledged")
    with client.lease(max_tasks=2, duration=SHORT) as (first, second):
        first.acknowledge([])
        queue.wait_for_renewals(3)
        assert not first.held
        assert second.held
        first.acknowledge([])  # once more is fine by the contract: the server is asked, not the client
    assert queue.done == [("acknowledge", "token-0"), ("acknowledge", "token-0"), ("release", "token-1")]


def test_a_lost_lease_is_raised_at_the_next_use(client: LabellingClient, queue: Queue) -> None:
    queue.renewal_errors["token-0"] = StaleLease("token-0 expired")
    with client.lease(max_tasks=2, duration=SHORT) as (lost, kept):
        queue.wait_for_renewals(4)  # the third at the least comes after the answer to the first
        for use in (lambda: lost.acknowledge([]), lambda: lost.skip(queue_pb2.SKIP_REASON_AMBIGUOUS), lost.release, lost.renew):
            with pytest.raises(StaleLease, match="token-0 expired"):
                use()
        kept.acknowledge([])
    assert queue.done == [("acknowledge", "token-1")]


def test_a_renewal_that_fails_in_passing_loses_nothing(client: LabellingClient, queue: Queue) -> None:
    queue.renewal_errors["token-0"] = Overloaded("busy", retry_after=timedelta(seconds=1))
    with client.lease(duration=SHORT) as (task,):
        queue.wait_for_renewals(2)
        task.acknowledge([])
    assert queue.done == [("acknowledge", "token-0")]


def test_a_lease_can_be_renewed_by_hand(client: LabellingClient, queue: Queue) -> None:
    with client.lease(duration=timedelta(minutes=5)) as (task,):
        assert task.renew().token == "token-0"
    assert queue.durations == {timedelta(minutes=5)}


def test_a_use_that_is_refused_leaves_the_task_unfinished(client: LabellingClient, queue: Queue) -> None:
    queue.release_error = Overloaded("busy")
    with client.lease() as (task,):
        with pytest.raises(Overloaded):
            task.release()
        assert task.held
        queue.release_error = None
    assert queue.done == [("release", "token-0"), ("release", "token-0")]


def test_renewals_come_every_third_of_a_lease() -> None:
    assert renewal_interval(timedelta(minutes=15)) == timedelta(minutes=5)


@pytest.mark.parametrize("duration", [timedelta(milliseconds=999), timedelta(), timedelta(hours=24, seconds=1)])
def test_refused_durations(client: LabellingClient, duration: timedelta) -> None:
    with pytest.raises(InvalidArgument, match="duration"), client.lease(duration=duration):
        raise AssertionError("nothing was leased")
