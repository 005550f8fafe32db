import threading
import traceback
from collections.abc import Callable
from datetime import timedelta
from typing import Any, NoReturn

import grpc
import pytest

from quandary import InvalidArgument, LabellingClient, NotFound, Overloaded, QuandaryError, Unavailable, Violation, errors
from quandary.error_messages import ERROR_TRAILER, error_message
from quandary.errors import Cancelled
from quandary.v1 import queue_pb2

Serve = Callable[[dict[str, Callable[..., Any]]], str]
Connect = Callable[..., LabellingClient]
Refuse = Callable[[grpc.ServicerContext, QuandaryError], NoReturn]
TOKEN = "a-token-that-nobody-may-see"

# UNAVAILABLE is retried for seconds; test_retries.py has it
CLASSES = [
    found
    for found in vars(errors).values()
    if isinstance(found, type) and issubclass(found, QuandaryError) and found.status != "UNAVAILABLE"
]


@pytest.mark.parametrize("found", CLASSES)
def test_each_error_arrives_with_its_facts(serve: Serve, connect: Connect, refuse: Refuse, found: type[QuandaryError]) -> None:
    sent = found("it is so", violations=[Violation("name", "x", "y")], retry_after=timedelta(seconds=1.5))
    target = serve({"QueueService/GetTask": lambda _, context: refuse(context, sent)})
    with pytest.raises(found) as caught:
        connect(LabellingClient, target).get_task("queues/active/tasks/f")
    error = caught.value
    assert (error.status, error.reason) == (sent.status, sent.reason)
    assert (error.message, error.violations, error.retry_after) == (sent.message, sent.violations, sent.retry_after)
    assert isinstance(error.__cause__, grpc.RpcError)
    assert TOKEN not in "".join(traceback.format_exception(error))


def test_a_refusal_that_returns_an_empty_reply_arrives_as_well(serve: Serve, connect: Connect) -> None:
    """So the services behind Ray Serve's ingress refuse: a raise would lose the trailing metadata."""

    def stats(request: Any, context: grpc.ServicerContext) -> queue_pb2.GetQueueStatsResponse:
        error = Overloaded("full", retry_after=timedelta(seconds=2))
        context.set_trailing_metadata(((ERROR_TRAILER, error_message(error).SerializeToString()),))
        context.set_code(grpc.StatusCode.RESOURCE_EXHAUSTED)
        context.set_details("full")
        return queue_pb2.GetQueueStatsResponse()

    with pytest.raises(Overloaded) as caught:
        connect(LabellingClient, serve({"QueueService/GetQueueStats": stats})).queue_stats()
    assert caught.value.retry_after == timedelta(seconds=2)


def test_without_our_metadata_the_status_picks_the_class(serve: Serve, connect: Connect) -> None:
    def get(request: Any, context: grpc.ServicerContext) -> NoReturn:
        context.abort(grpc.StatusCode.NOT_FOUND, "nothing here")

    with pytest.raises(NotFound, match="nothing here") as caught:
        connect(LabellingClient, serve({"QueueService/GetTask": get})).get_task("queues/active/tasks/f")
    assert caught.value.violations == ()


def test_a_call_that_the_network_reset_is_unavailable_and_one_that_was_cancelled_is_not(serve: Serve, connect: Connect) -> None:
    """HAProxy resets the streams of a replica that was killed; gRPC calls that CANCELLED."""
    details = "Stream removed (RST_STREAM with error code 8)"

    def get(request: Any, context: grpc.ServicerContext) -> NoReturn:
        context.abort(grpc.StatusCode.CANCELLED, details)

    client = connect(LabellingClient, serve({"QueueService/GetTask": get}))
    with pytest.raises(Unavailable, match="RST_STREAM"):
        client.get_task("queues/active/tasks/f")
    details = "given up"
    with pytest.raises(Cancelled, match="given up"):
        client.get_task("queues/active/tasks/f")


@pytest.mark.parametrize("code", [grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN])
def test_what_no_service_described_is_unavailable_and_told_in_one_line(serve: Serve, connect: Connect, code: Any) -> None:
    """Ray's own proxy says INTERNAL where a replica dies, and much about it that is nobody's business."""

    def get(request: Any, context: grpc.ServicerContext) -> NoReturn:
        context.abort(code, "The actor died unexpectedly.\n\tactor_id: 850397a4d03386f0")

    client = connect(LabellingClient, serve({"QueueService/LeaseTasks": get}))
    with pytest.raises(Unavailable, match=r"^The actor died unexpectedly\.$"):
        client.lease_tasks()


def test_torn_metadata_are_no_worse_than_none(serve: Serve, connect: Connect) -> None:
    def get(request: Any, context: grpc.ServicerContext) -> NoReturn:
        context.set_trailing_metadata((("other", "x"), (ERROR_TRAILER, b"\xff\xff\xff")))
        context.abort(grpc.StatusCode.INVALID_ARGUMENT, "wrong")

    with pytest.raises(InvalidArgument, match="wrong"):
        connect(LabellingClient, serve({"QueueService/GetTask": get})).get_task("queues/active/tasks/f")


def test_a_service_that_is_not_there(serve: Serve, connect: Connect) -> None:
    with pytest.raises(errors.NotServedYet):
        connect(LabellingClient, serve({})).queue_stats()


def test_a_server_that_hangs_ends_in_the_deadline(serve: Serve, connect: Connect) -> None:
    over = threading.Event()

    def stats(request: Any, context: grpc.ServicerContext) -> queue_pb2.GetQueueStatsResponse:
        over.wait()
        return queue_pb2.GetQueueStatsResponse()

    client = connect(LabellingClient, serve({"QueueService/GetQueueStats": stats}))
    with pytest.raises(errors.DeadlineExceeded):
        client.queue_stats(timeout=timedelta(milliseconds=100))
    over.set()
