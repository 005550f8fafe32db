import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import grpc
import numpy as np
import pytest

from quandary import (
    Calibration,
    DeadlineExceeded,
    Frame,
    LabellingClient,
    QuandaryError,
    ScoringClient,
    TrainingClient,
    Unavailable,
)
from quandary.error_messages import STATUS_NUMBERS
from quandary.retries import CONTRACT, service_config
from quandary.v1 import queue_pb2, scoring_pb2

Serve = Callable[[dict[str, Callable[..., Any]]], str]
Connect = Callable[..., Any]

RETRIED_CODES = {"UNAVAILABLE", "CANCELLED", "INTERNAL", "UNKNOWN"}
SERVICES = [service for file in CONTRACT for service in file.services_by_name.values()]

RETRIED = """
    ScoringService/ScoreFrames ScoringService/GetServingStatus
    QueueService/RenewLease QueueService/AcknowledgeTask QueueService/SkipTask QueueService/ReleaseTask QueueService/PinTask
    QueueService/SetTaskBand QueueService/RequeueTask QueueService/GetTask QueueService/ListTasks QueueService/GetQueueStats
    QueueService/ListQueues QueueService/ListAuditEvents
    LabelService/SubmitLabels LabelService/GetFrameLabels LabelService/ListFrameLabels LabelService/StreamFrameLabels
    TrainingService/GetRun TrainingService/ListRuns TrainingService/WatchRun TrainingService/CancelRun
    TrainingService/ListGenerations TrainingService/GetGeneration TrainingService/PinGeneration
"""
ONCE = """
    ScoringService/StreamScores QueueService/LeaseTasks TrainingService/StartRun TrainingService/PromoteGeneration
    TrainingService/RollbackGeneration
"""


class Flaky:
    """A method that fails with a status a number of times before it answers."""

    def __init__(self, answer: Any, failures: int = 1, status: str = "UNAVAILABLE") -> None:
        self.attempts = 0
        self._answer = answer
        self._failures = failures
        self._status = grpc.StatusCode[status]

    def __call__(self, request: Any, context: grpc.ServicerContext) -> Any:
        self.attempts += 1
        if self.attempts <= self._failures:
            context.abort(self._status, "not now")
        return self._answer


def test_every_method_of_the_contract_is_decided_upon() -> None:
    methods = {f"{service.name}/{method.name}" for service in SERVICES for method in service.methods}
    assert methods == {*RETRIED.split(), *ONCE.split()}

    (config,) = json.loads(service_config())["methodConfig"]
    assert {f"{name['service'].removeprefix('quandary.v1.')}/{name['method']}" for name in config["name"]} == {*RETRIED.split()}
    assert config["retryPolicy"]["retryableStatusCodes"] == ["UNAVAILABLE", "CANCELLED", "INTERNAL", "UNKNOWN"]


def test_a_call_that_fails_twice_is_answered_at_the_third_attempt(serve: Serve, connect: Connect) -> None:
    status = Flaky(scoring_pb2.GetServingStatusResponse(replica="r"), failures=2)
    client = connect(ScoringClient, serve({"ScoringService/GetServingStatus": status}))
    assert client.serving_status().replica == "r"
    assert status.attempts == 3


def test_a_whole_cloud_is_sent_again(serve: Serve, connect: Connect, calibration: Calibration) -> None:
    """gRPC by itself retries no call of more than 256 KiB."""
    score = Flaky(scoring_pb2.ScoreFramesResponse(generation="g"))
    client = connect(ScoringClient, serve({"ScoringService/ScoreFrames": score}))
    frame = Frame("f", calibration, [], points=np.zeros((100_000, 4), np.float32))
    assert client.score_frames([frame], crop=False).generation == "g"
    assert score.attempts == 2


def test_retries_end_with_the_deadline(serve: Serve, connect: Connect) -> None:
    status = Flaky(scoring_pb2.GetServingStatusResponse(), failures=99)
    client = connect(ScoringClient, serve({"ScoringService/GetServingStatus": status}))
    with pytest.raises((Unavailable, DeadlineExceeded)):
        client.serving_status(timeout=timedelta(milliseconds=300))
    assert status.attempts < 5


@pytest.mark.parametrize("code", ["CANCELLED", "INTERNAL", "UNKNOWN"])
def test_what_no_service_says_comes_of_one_that_died_and_the_call_is_made_again(
    serve: Serve, connect: Connect, code: str
) -> None:
    """HAProxy resets the calls of a replica that dies, which gRPC calls CANCELLED; Ray's own proxy says INTERNAL."""
    status = Flaky(scoring_pb2.GetServingStatusResponse(replica="r"), failures=2, status=code)
    client = connect(ScoringClient, serve({"ScoringService/GetServingStatus": status}))
    assert client.serving_status().replica == "r"
    assert status.attempts == 3


@pytest.mark.parametrize("status", sorted(set(STATUS_NUMBERS) - {"OK", *RETRIED_CODES}))
def test_no_other_status_is_retried(serve: Serve, connect: Connect, status: str) -> None:
    stats = Flaky(queue_pb2.GetQueueStatsResponse(), status=status)
    client = connect(LabellingClient, serve({"QueueService/GetQueueStats": stats}))
    with pytest.raises(QuandaryError) as error:
        client.queue_stats()
    assert error.value.status in (status, "UNKNOWN")
    assert stats.attempts == 1


@pytest.mark.parametrize(
    ("path", "kind", "call"),
    [
        ("QueueService/LeaseTasks", LabellingClient, lambda client: client.lease_tasks()),
        ("TrainingService/StartRun", TrainingClient, lambda client: client.start_run()),
        ("TrainingService/PromoteGeneration", TrainingClient, lambda client: client.promote("g")),
        ("TrainingService/RollbackGeneration", TrainingClient, lambda client: client.rollback()),
        ("ScoringService/StreamScores", ScoringClient, lambda client: list(client.stream_scores([], resume_for=timedelta()))),
    ],
)
def test_what_must_not_happen_twice_is_tried_once(
    serve: Serve, connect: Connect, path: str, kind: type[Any], call: Callable[[Any], object]
) -> None:
    method = Flaky(None)
    client = connect(kind, serve({path: method}))
    with pytest.raises(Unavailable):
        call(client)
    assert method.attempts == 1
