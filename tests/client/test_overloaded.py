"""Calls that are refused as overloaded come back as told, within their time; against real servers."""

import threading
from collections.abc import Callable
from concurrent.futures import CancelledError, ThreadPoolExecutor
from datetime import timedelta
from itertools import pairwise
from typing import Any, NoReturn

import grpc
import pytest

from quandary import Cancelled, Frame, LabellingClient, Overloaded, QuandaryError, ScoringClient, TooLarge
from quandary.v1 import scoring_pb2

Serve = Callable[[dict[str, Callable[..., Any]]], str]
Connect = Callable[..., Any]
Refuse = Callable[[grpc.ServicerContext, QuandaryError], NoReturn]

SCORE = "ScoringService/ScoreFrames"


class Full:
    """A server that refuses so many times; notes whether each request came back, and its timeout in seconds."""

    def __init__(self, refuse: Refuse, error: QuandaryError, times: int) -> None:
        self.requests: list[tuple[bool, float]] = []
        self.refused = threading.Event()
        self._refuse, self._error, self._times = refuse, error, times

    def __call__(self, request: Any, context: grpc.ServicerContext) -> scoring_pb2.ScoreFramesResponse:
        self.requests.append((request.returning, request.timeout.ToTimedelta().total_seconds()))
        if len(self.requests) <= self._times:
            self.refused.set()
            self._refuse(context, self._error)
        return scoring_pb2.ScoreFramesResponse(generation="g")


def overloaded(seconds: float) -> Overloaded:
    return Overloaded("full", retry_after=timedelta(seconds=seconds))


def test_a_refused_call_comes_back_says_so_and_tells_the_time_that_is_left(
    serve: Serve, connect: Connect, refuse: Refuse, frame: Frame
) -> None:
    server = Full(refuse, overloaded(0.02), 3)
    client = connect(ScoringClient, serve({SCORE: server}))
    assert client.score_frames([frame], timeout=timedelta(seconds=60)).generation == "g"
    assert [returning for returning, _ in server.requests] == [False, True, True, True]
    left = [seconds for _, seconds in server.requests]
    assert left[0] == 60.0
    assert all(before - after >= 0.02 for before, after in pairwise(left))


def test_a_call_that_may_come_back_only_after_its_time_fails_at_once(
    serve: Serve, connect: Connect, refuse: Refuse, frame: Frame
) -> None:
    server = Full(refuse, overloaded(30.0), 99)
    client = connect(ScoringClient, serve({SCORE: server}))
    with pytest.raises(Overloaded) as error:
        client.score_frames([frame], timeout=timedelta(seconds=20))
    assert error.value.retry_after == timedelta(seconds=30)
    assert len(server.requests) == 1


def test_all_attempts_together_keep_to_the_timeout(serve: Serve, connect: Connect, refuse: Refuse, frame: Frame) -> None:
    server = Full(refuse, overloaded(0.2), 99)
    client = connect(ScoringClient, serve({SCORE: server}))
    with pytest.raises(Overloaded):
        client.score_frames([frame], timeout=timedelta(seconds=1))
    assert 1 < len(server.requests) <= 5


@pytest.mark.parametrize("error", [TooLarge("too large"), Overloaded("no time named")])
def test_what_names_no_time_to_come_back_is_final(
    serve: Serve, connect: Connect, refuse: Refuse, frame: Frame, error: QuandaryError
) -> None:
    server = Full(refuse, error, 99)
    with pytest.raises(type(error)):
        connect(ScoringClient, serve({SCORE: server})).score_frames([frame])
    assert len(server.requests) == 1


def test_calls_that_do_not_say_how_are_not_made_again(serve: Serve, connect: Connect, refuse: Refuse) -> None:
    calls: list[Any] = []

    def lease(request: Any, context: grpc.ServicerContext) -> NoReturn:
        calls.append(request)
        refuse(context, overloaded(0.01))

    with pytest.raises(Overloaded):
        connect(LabellingClient, serve({"QueueService/LeaseTasks": lease})).lease_tasks()
    assert len(calls) == 1


def test_a_call_that_waits_to_come_back_ends_when_the_client_is_closed(
    serve: Serve, connect: Connect, refuse: Refuse, frame: Frame
) -> None:
    server = Full(refuse, overloaded(200.0), 99)
    client = connect(ScoringClient, serve({SCORE: server}))
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(client.score_frames, [frame], timeout=timedelta(seconds=1000))
        assert server.refused.wait(60)
        client.close()
        # by asyncio's own error where the refusal has not arrived yet
        assert isinstance(waiting.exception(60), Cancelled | CancelledError)
