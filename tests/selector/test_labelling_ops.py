"""What labelling ops do to the queue, and what of their labels is refused, through a real channel."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import grpc
import pytest
from support.labelling import Server
from support.records import START, some_labels

from quandary import (
    FrameLabels,
    InvalidArgument,
    Label,
    NotFound,
    PermissionDenied,
    StaleLease,
    WrongState,
)
from quandary.convert import frame_labels_message, record
from quandary.names import task_name
from quandary.v1 import labels_pb2, labels_pb2_grpc, queue_pb2, queue_pb2_grpc
from quandary_server.auth import Role, issue_token
from quandary_server.clock import now

CAR = some_labels("f0").labels[0]


def labeller(server: Server, subject: str) -> str:
    return issue_token(server.tokens, subject, [Role.LABELLER], time=now(), lifetime=None).token


def test_a_pinned_task_is_leased_first_and_says_so(server: Server) -> None:
    with server.client() as client:
        pinned = client.pin_task(task_name("active", "f4"), comment="asked for by the crash team")
        assert pinned.pinned
        assert pinned.reason.startswith("Pinned to the front. No generation")
        moved = client.set_task_band(task_name("active", "f5"), queue_pb2.PRIORITY_BAND_SAFETY)
        assert moved.band == queue_pb2.PRIORITY_BAND_SAFETY
        assert moved.reason.startswith("In the safety band. No generation")
        assert [task.frame_id for task in client.lease_tasks(max_tasks=3)] == ["f4", "f5", "f0"]
        pin, _ = client.list_audit_events(task_name("active", "f4"))
    assert (pin.action, pin.subject, pin.details["to"]) == ("pin", "admin", "pinned")
    assert pin.details["comment"] == "asked for by the crash team"


def test_a_pin_is_taken_away_and_given_to_nothing_that_is_leased_or_unknown(server: Server) -> None:
    with server.client() as client:
        client.pin_task(task_name("active", "f4"))
        assert not client.pin_task(task_name("active", "f4"), pinned=False).pinned
        (task,) = client.lease_tasks()
        assert task.frame_id == "f0"
        with pytest.raises(WrongState):
            client.pin_task(task.name)
        with pytest.raises(NotFound):
            client.pin_task(task_name("active", "nobody"))


def test_only_an_admin_puts_a_task_forward(server: Server) -> None:
    with server.client(labeller(server, "lena")) as client:
        with pytest.raises(PermissionDenied, match="this call needs admin"):
            client.pin_task(task_name("active", "f0"))
        with pytest.raises(PermissionDenied, match="this call needs admin"):
            client.set_task_band(task_name("active", "f0"), queue_pb2.PRIORITY_BAND_SAFETY)


def test_what_every_labeller_skipped_for_others_is_a_dead_letter_until_an_admin_puts_it_back(server: Server) -> None:
    tokens = [labeller(server, "lena"), labeller(server, "mia")]
    for token in tokens:
        with server.client(token) as client:
            (task,) = client.lease_tasks()
            assert task.frame_id == "f0"
            others = queue_pb2.REQUEUE_POLICY_OTHERS
            skipped = client.skip_task(task.name, task.lease.token, queue_pb2.SKIP_REASON_AMBIGUOUS, requeue=others)
    assert skipped.state == queue_pb2.TASK_STATE_DEAD_LETTER
    with server.client(tokens[0]) as client, pytest.raises(PermissionDenied, match="this call needs admin"):
        client.requeue_task(task.name)
    with server.client() as client:
        opened = client.requeue_task(task.name, "looked at: the truck is one")
        assert (opened.state, opened.failed_leases) == (queue_pb2.TASK_STATE_WAITING, 0)
        assert client.requeue_task(task.name) == opened
        *_, told = client.list_audit_events(task.name)
        assert (told.action, told.details["from"], told.details["comment"]) == (
            "requeue",
            "dead_letter",
            "looked at: the truck is one",
        )
        (again,) = client.lease_tasks()
        assert again.frame_id == "f0"
        with pytest.raises(WrongState, match="requeue: the task is leased"):
            client.requeue_task(task.name)


@pytest.mark.parametrize(
    ("method", "request_", "field"),
    [
        ("SetTaskBand", queue_pb2.SetTaskBandRequest(name="queues/active/tasks/f0"), "band"),
        ("SetTaskBand", queue_pb2.SetTaskBandRequest(name="queues/active/tasks/f0", band=9), "band"),  # type: ignore[arg-type]
        ("PinTask", queue_pb2.PinTaskRequest(name="queues/active/tasks/f0", pinned=True, comment="x" * 501), "comment"),
        ("PinTask", queue_pb2.PinTaskRequest(name="queues/active/tasks/f0", pinned=True, comment="a\0b"), "comment"),
        ("PinTask", queue_pb2.PinTaskRequest(name="f0", pinned=True), "name"),
        (
            "SkipTask",
            queue_pb2.SkipTaskRequest(
                name="queues/active/tasks/f0",
                reason=queue_pb2.SKIP_REASON_AMBIGUOUS,
                requeue=9,  # type: ignore[arg-type]
            ),
            "requeue",
        ),
    ],
)
def test_malformed_requests_name_their_field(server: Server, method: str, request_: Any, field: str) -> None:
    metadata = (("authorization", f"Bearer {server.token}"),)
    with grpc.insecure_channel(server.target) as channel:
        call = getattr(queue_pb2_grpc.QueueServiceStub(channel), method)
        with pytest.raises(grpc.RpcError) as caught:
            call(request_, metadata=metadata, timeout=10)
    failure: Any = caught.value
    assert failure.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert failure.details().startswith(f"{field} is")


def test_a_task_skipped_for_others_goes_to_them_alone(server: Server) -> None:
    with server.client(labeller(server, "lena")) as lena, server.client(labeller(server, "max")) as max_:
        with lena.lease() as (task,):
            skipped = task.skip(queue_pb2.SKIP_REASON_AMBIGUOUS, "odd", requeue=queue_pb2.REQUEUE_POLICY_OTHERS)
        assert skipped.state == queue_pb2.TASK_STATE_WAITING
        assert [task.frame_id for task in lena.lease_tasks(max_tasks=2)] == ["f1", "f2"]
        (taken,) = max_.lease_tasks()
        assert taken.frame_id == "f0"
        max_.skip_task(taken.name, taken.lease.token, queue_pb2.SKIP_REASON_AMBIGUOUS, requeue=queue_pb2.REQUEUE_POLICY_ANYBODY)
        assert [task.frame_id for task in max_.lease_tasks()] == ["f0"]
        with pytest.raises(StaleLease):
            max_.release_task(taken.name, taken.lease.token)
    with server.client() as client:
        events = [event for event in client.list_audit_events("queues/active/tasks/f0") if event.action == "skip"]
    assert [(event.subject, event.details["requeue"]) for event in events] == [("lena", "others"), ("max", "anybody")]


def wrong_box(**changes: float) -> labels_pb2.FrameLabels:
    message = frame_labels_message(some_labels("f0"))
    for field, value in changes.items():
        setattr(message.labels[1].box, field, value)
    return message


def renamed(class_name: str) -> labels_pb2.FrameLabels:
    message = frame_labels_message(some_labels("f0"))
    message.labels[1].class_name = class_name
    return message


WRONG = [
    (renamed("Tank"), "labels[1].class_name is 'Tank', must be one of Car,"),
    (renamed("Background"), "labels[1].class_name is 'Background', must be one of Car,"),
    (wrong_box(x_m=float("nan")), "labels[1].box.x_m is nan, must be finite, within +-1000 m"),
    (wrong_box(yaw_rad=3.5), "labels[1].box.yaw_rad is 3.5, must be in [-pi, pi]"),
    (wrong_box(height_m=6.0), "labels[1].box.height_m is 6, must be in [0.6, 2.6] m for a Pedestrian"),
    (wrong_box(x_m=400.0), "labels[1].box.x_m is 400, must be so that the box reaches into ["),
    (
        frame_labels_message(FrameLabels("f0", [CAR, CAR])),
        "labels[1].box is 1.00 of labels[0]'s, must be below 0.7 in IoU: no object twice",
    ),
]


@pytest.mark.parametrize(("labels", "said"), WRONG, ids=[said.split(",")[0] for _, said in WRONG])
def test_labels_that_cannot_be_are_refused_by_name_and_nothing_is_stored(
    server: Server, labels: labels_pb2.FrameLabels, said: str
) -> None:
    metadata = (("authorization", f"Bearer {server.token}"),)
    with server.client() as client, grpc.insecure_channel(server.target) as channel:
        (task,) = client.lease_tasks()
        acknowledge = queue_pb2.AcknowledgeTaskRequest(name=task.name, lease_token=task.lease.token, labels=labels)
        submit = labels_pb2.SubmitLabelsRequest(frames=[frame_labels_message(some_labels("f1")), labels])
        with pytest.raises(grpc.RpcError) as refused:
            queue_pb2_grpc.QueueServiceStub(channel).AcknowledgeTask(acknowledge, metadata=metadata, timeout=10)
        with pytest.raises(grpc.RpcError) as refused_too:
            labels_pb2_grpc.LabelServiceStub(channel).SubmitLabels(submit, metadata=metadata, timeout=10)
        assert list(client.list_frame_labels()) == []
        assert client.get_task(task.name).state == queue_pb2.TASK_STATE_LEASED
    for caught, path in ((refused, "labels"), (refused_too, "frames[1]")):
        failure: Any = caught.value
        assert failure.code() == grpc.StatusCode.INVALID_ARGUMENT
        assert failure.details().startswith(f"{path}.{said}")


def test_every_wrong_frame_of_an_import_is_named(server: Server) -> None:
    long = FrameLabels("f0", [Label("Car", replace(CAR.box, length_m=13.1))])
    wrong = [long, some_labels("f1"), replace(long, frame_id="f2")]
    with server.client() as client, pytest.raises(InvalidArgument) as refused:
        client.submit_labels(wrong)
    assert [v.field for v in refused.value.violations] == [f"frames[{i}].labels[0].box.length_m" for i in (0, 2)]


def test_labels_are_taken_where_the_cloud_is_gone(server: Server) -> None:
    far = Label("Car", replace(CAR.box, x_m=400.0))
    with server.client() as client:
        (task,) = client.lease_tasks()
        with pytest.raises(InvalidArgument):
            client.acknowledge_task(task.name, task.lease.token, FrameLabels("f0", [far]))
        Path(urlsplit(task.record.cloud_uri).path).unlink()
        client.acknowledge_task(task.name, task.lease.token, FrameLabels("f0", [far]))


def test_labels_keep_who_when_how_long_and_what_was_shown(server: Server) -> None:
    shown = replace(some_labels("f0"), time_spent=timedelta(seconds=95), prelabel_generation="g000001-00000000")
    with server.client(labeller(server, "lena")) as client:
        (task,) = client.lease_tasks()
        client.acknowledge_task(task.name, task.lease.token, shown)
        (kept,) = client.list_frame_labels()
        *_, acknowledged = client.list_audit_events(task.name)
    assert (kept.labeller, kept.label_time.ToDatetime(START.tzinfo), kept.time_spent.seconds) == ("lena", START, 95)
    assert kept.prelabel_generation == "g000001-00000000"
    assert dict(acknowledged.details) == {
        "labels": "2",
        "seconds_spent": "95",
        "prelabel_generation": "g000001-00000000",
    }


def test_labels_stream_out_with_the_records_they_were_given_for(server: Server) -> None:
    with server.client() as client:
        client.submit_labels([some_labels("f2")])
        (answer,) = client.stream_labelled_frames()
        assert list(client.stream_labelled_frames(START + timedelta(hours=1))) == []
    assert answer.frame.frame_id == "f2"
    assert record(answer.record).cloud_uri.endswith("/f2.bin")
