"""QueueService and LabelService through a real channel."""

from datetime import timedelta
from typing import Any

import grpc
import pytest
from support.labelling import Server
from support.records import START, some_labels

from quandary import (
    Box3D,
    FrameLabels,
    InvalidArgument,
    Label,
    NotFound,
    PermissionDenied,
    StaleLease,
    Unauthenticated,
    WrongState,
)
from quandary.convert import box3d
from quandary.names import task_name
from quandary.v1 import queue_pb2, queue_pb2_grpc, view_pb2
from quandary_server.auth import Role, issue_token
from quandary_server.clock import now
from quandary_server.storage.task_values import NewScore


def test_tasks_are_leased_in_order_and_acknowledged_with_labels(server: Server) -> None:
    with server.client() as client:
        first, second = client.lease_tasks("active", 2, timedelta(minutes=1))
        assert [first.frame_id, second.frame_id] == ["f0", "f1"]
        assert first.state == queue_pb2.TASK_STATE_LEASED
        assert first.lease.holder == "admin"
        assert first.record.cloud_uri.startswith("file:")
        assert "No generation has scored it yet" in first.reason
        done = client.acknowledge_task(first.name, first.lease.token, some_labels("f0"))
        assert done.state == queue_pb2.TASK_STATE_ACKNOWLEDGED
        assert not done.lease.token
        stored = client.get_frame_labels("f0")
        assert [label.class_name for label in stored.labels] == ["Car", "Pedestrian"]
        assert box3d(stored.labels[0].box) == some_labels("f0").labels[0].box
        assert (stored.labeller, stored.drive_id, stored.control) == ("admin", "drive", False)
        assert client.acknowledge_task(first.name, first.lease.token, some_labels("f0")).frame_id == "f0"


def test_scores_and_ranks_stand_in_the_task_and_its_reason(server: Server) -> None:
    server.store.ranking.rescore("active", [NewScore("f4", 0.75, b"")], generation="g000001-00000000", now=START)
    server.store.ranking.write_ranks("active", ["f4"], now=START)
    with server.client() as client:
        (task,) = client.lease_tasks()
    assert (task.frame_id, task.rank, task.score, task.generation) == ("f4", 0, 0.75, "g000001-00000000")
    assert task.reason == "Score 0.750 by g000001-00000000."


def test_a_folded_task_says_under_what_unless_it_is_pinned(server: Server) -> None:
    name = task_name("active", "f3")
    server.store.ranking.rescore("active", [NewScore("f3", 0.5, b"")], generation="g000001-00000000", now=START)
    server.store.ranking.write_ranks("active", ["f4"], folded={"f3": "f4"}, now=START)
    with server.client() as client:
        told = "A near copy of f4, folded under it: not leased now. Score 0.500 by g000001-00000000."
        assert client.get_task(name).reason == told
        assert client.pin_task(name).reason == "Pinned to the front. Score 0.500 by g000001-00000000."


def test_a_lease_that_ran_out_is_stale_and_the_task_goes_to_the_next(server: Server) -> None:
    with server.client() as client:
        (mine,) = client.lease_tasks(duration=timedelta(seconds=10))
        server.time += timedelta(seconds=11)
        (theirs,) = client.lease_tasks(duration=timedelta(seconds=10))
        assert theirs.frame_id == mine.frame_id
        assert theirs.failed_leases == 1
        for use in (
            lambda: client.renew_lease(mine.name, mine.lease.token),
            lambda: client.acknowledge_task(mine.name, mine.lease.token, some_labels("f0")),
            lambda: client.skip_task(mine.name, mine.lease.token, queue_pb2.SKIP_REASON_AMBIGUOUS),
            lambda: client.release_task(mine.name, mine.lease.token),
        ):
            with pytest.raises(StaleLease) as caught:
                use()
            assert theirs.lease.token not in caught.value.message
        client.acknowledge_task(theirs.name, theirs.lease.token, some_labels("f0"))


def test_renewing_holds_a_task_and_releasing_gives_it_back(server: Server) -> None:
    with server.client() as client:
        (task,) = client.lease_tasks(duration=timedelta(seconds=10))
        server.time += timedelta(seconds=8)
        client.renew_lease(task.name, task.lease.token, timedelta(seconds=10))
        server.time += timedelta(seconds=8)
        released = client.release_task(task.name, task.lease.token)
        assert released.state == queue_pb2.TASK_STATE_WAITING
        assert client.lease_tasks()[0].frame_id == task.frame_id


def test_skipping_needs_a_reason_and_ends_the_task(server: Server) -> None:
    with server.client() as client:
        (task,) = client.lease_tasks()
        for reason, comment, field in (
            (queue_pb2.SKIP_REASON_UNSPECIFIED, "", "reason"),
            (77, "", "reason"),
            (queue_pb2.SKIP_REASON_OTHER, "", "comment"),
            (queue_pb2.SKIP_REASON_DUPLICATE, "x" * 501, "comment"),
        ):
            with pytest.raises(InvalidArgument) as caught:
                client.skip_task(task.name, task.lease.token, reason, comment)  # type: ignore[arg-type]
            assert caught.value.violations[0].field == field
        skipped = client.skip_task(task.name, task.lease.token, queue_pb2.SKIP_REASON_DUPLICATE)
        assert (skipped.state, skipped.skip_reason) == (queue_pb2.TASK_STATE_SKIPPED, queue_pb2.SKIP_REASON_DUPLICATE)
        with pytest.raises(WrongState):
            client.acknowledge_task(task.name, task.lease.token, some_labels(task.frame_id))


def test_an_empty_queue_is_no_error_and_an_unknown_one_is(server: Server) -> None:
    with server.client() as client:
        assert list(client.lease_tasks("control")) == []
        with pytest.raises(NotFound, match="campaign"):
            client.lease_tasks("campaign")
        with pytest.raises(NotFound):
            client.get_task(task_name("active", "nobody"))


@pytest.mark.parametrize(
    ("labels", "field"),
    [
        (FrameLabels("f1"), "labels.frame_id"),
        (FrameLabels("f0", [Label("Car", Box3D(1, 2, 3, 4, 5, 6, 0))] * 1001), "labels.labels"),
    ],
)
def test_labels_of_another_frame_or_too_many_are_refused_and_the_lease_holds(
    server: Server, labels: FrameLabels, field: str
) -> None:
    with server.client() as client:
        (task,) = client.lease_tasks()
        with pytest.raises(InvalidArgument) as caught:
            client.acknowledge_task(task.name, task.lease.token, labels)
        assert caught.value.violations[0].field == field
        client.acknowledge_task(task.name, task.lease.token, some_labels("f0"))


class Raw:
    """The stubs without the client's checks."""

    def __init__(self, server: Server) -> None:
        self._channel = grpc.insecure_channel(server.target)
        self.queues = queue_pb2_grpc.QueueServiceStub(self._channel)
        self.metadata = (("authorization", f"Bearer {server.token}"),)


@pytest.mark.parametrize(
    ("request_", "method", "field"),
    [
        (queue_pb2.LeaseTasksRequest(queue="active"), "LeaseTasks", "queue"),
        (queue_pb2.LeaseTasksRequest(queue="queues/active", max_tasks=101), "LeaseTasks", "max_tasks"),
        (queue_pb2.LeaseTasksRequest(queue="queues/active", max_tasks=-1), "LeaseTasks", "max_tasks"),
        (queue_pb2.ListTasksRequest(queue="queues/active", page_size=501), "ListTasks", "page_size"),
        (queue_pb2.ListTasksRequest(queue="queues/active", page_token="nonsense"), "ListTasks", "page_token"),
        (queue_pb2.ListTasksRequest(queue="queues/active", state=99), "ListTasks", "state"),  # type: ignore[arg-type]
        (queue_pb2.ListTasksRequest(queue="queues/active", view=9), "ListTasks", "view"),  # type: ignore[arg-type]
        (queue_pb2.LeaseTasksRequest(queue="queues/active", view=9), "LeaseTasks", "view"),  # type: ignore[arg-type]
        (queue_pb2.GetTaskRequest(name="queues/active/tasks/f0", view=9), "GetTask", "view"),  # type: ignore[arg-type]
        (queue_pb2.GetTaskRequest(name="queues/active/f0"), "GetTask", "name"),
        (queue_pb2.AcknowledgeTaskRequest(name="queues/active/tasks/f0", lease_token="t"), "AcknowledgeTask", "labels"),
        (queue_pb2.RenewLeaseRequest(name="tasks/f0", lease_token="t"), "RenewLease", "name"),
    ],
)
def test_malformed_requests_name_their_field(server: Server, request_: Any, method: str, field: str) -> None:
    raw = Raw(server)
    with pytest.raises(grpc.RpcError) as caught:
        getattr(raw.queues, method)(request_, metadata=raw.metadata, timeout=10)
    failure: Any = caught.value
    assert failure.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert failure.details().startswith(field)


def test_a_lease_too_long_or_too_short_is_refused(server: Server) -> None:
    raw = Raw(server)
    for seconds in (0, -5, 86_401, 10**12):
        request = queue_pb2.LeaseTasksRequest(queue="queues/active")
        request.lease_duration.seconds = seconds
        with pytest.raises(grpc.RpcError) as caught:
            raw.queues.LeaseTasks(request, metadata=raw.metadata, timeout=10)
        failure: Any = caught.value
        assert failure.details().startswith("lease_duration")


def test_pages_hold_every_task_once_in_lease_order(server: Server) -> None:
    with server.client() as client:
        tasks = list(client.list_tasks(page_size=2))
        full = next(iter(client.list_tasks(view=view_pb2.VIEW_FULL)))
    assert [task.frame_id for task in tasks] == [f"f{i}" for i in range(6)]
    assert not tasks[0].HasField("record")
    assert full.HasField("record")


def test_the_counts_tell_queue_and_selector(server: Server) -> None:
    with server.client() as client:
        client.lease_tasks(max_tasks=2)
        stats = client.queue_stats()
        names = [queue.name for queue in client.list_queues()]
    assert (stats.waiting, stats.leased, stats.unscored, stats.behind, stats.log_lag) == (4, 2, 4, 4, 3)
    assert stats.generation == "g000001-00000000"
    assert names == ["queues/active", "queues/control"]


def test_an_import_stores_labels_and_closes_waiting_tasks(server: Server) -> None:
    with server.client() as client:
        assert client.submit_labels([some_labels("f2"), some_labels("f3")]).stored_frames == 2
        assert client.submit_labels([some_labels("f2")]).unchanged_frames == 1
        assert client.queue_stats().acknowledged == 2
        assert [frame.frame_id for frame in client.list_frame_labels(page_size=1)] == ["f2", "f3"]
        with pytest.raises(NotFound, match="elsewhere"):
            client.submit_labels([some_labels("f4"), some_labels("elsewhere")])
        assert client.queue_stats().acknowledged == 2


def test_an_import_of_too_many_labels_is_refused(server: Server) -> None:
    many = FrameLabels("f1", [Label("Car", Box3D(1, 2, 3, 4, 5, 6, 0))] * 1001)
    with server.client() as client, pytest.raises(InvalidArgument) as caught:
        client.submit_labels([some_labels("f0"), many])
    assert caught.value.violations[0].field == "frames[1].labels"


def test_the_audit_tells_who_did_what(server: Server) -> None:
    with server.client() as client:
        (task,) = client.lease_tasks()
        client.acknowledge_task(task.name, task.lease.token, some_labels("f0"))
        events = list(client.list_audit_events(task.name))
    assert [(event.action, event.subject) for event in events] == [("lease", "admin"), ("acknowledge", "admin")]
    assert task.lease.token not in str(events)


def test_all_labels_can_be_streamed_out(server: Server) -> None:
    with server.client() as client:
        client.submit_labels([some_labels("f0")])
        server.time += timedelta(minutes=1)
        client.submit_labels([some_labels("f1")])
        assert [frame.frame_id for frame in client.stream_frame_labels()] == ["f0", "f1"]
        since = START + timedelta(seconds=30)
        assert [frame.frame_id for frame in client.stream_frame_labels(since)] == ["f1"]


def test_roles_are_held(server: Server) -> None:
    labeller = issue_token(server.tokens, "lena", [Role.LABELLER], time=now(), lifetime=None)
    fleet = issue_token(server.tokens, "fleet-7", [Role.FLEET], time=now(), lifetime=None)
    with server.client(labeller.token) as client:
        (task,) = client.lease_tasks()
        assert task.lease.holder == "lena"
    with server.client(fleet.token) as client, pytest.raises(PermissionDenied, match="this call needs labeller"):
        client.lease_tasks()
    with server.client("x" * 20) as client, pytest.raises(Unauthenticated):
        client.queue_stats()
