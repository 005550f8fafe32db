"""Streams that break and go on, against real servers that break them."""

import asyncio
import queue
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from itertools import islice
from typing import Any

import grpc
import pytest

from quandary import AsyncScoringClient, Cancelled, Frame, GenerationNotResident, QuandaryError, ScoringClient, Unavailable
from quandary.v1 import scoring_pb2

Connect = Callable[..., Any]
Serve = Callable[[dict[str, Callable[..., Any]]], str]
Refuse = Callable[[grpc.ServicerContext, QuandaryError], Any]

STREAM = "ScoringService/StreamScores"
RESET = "Stream removed (RST_STREAM with error code 8)"
A_LONG_TIME = timedelta(minutes=5)


def answer(request: scoring_pb2.StreamScoresRequest) -> scoring_pb2.StreamScoresResponse:
    return scoring_pb2.StreamScoresResponse(
        sequence=request.sequence, result=scoring_pb2.FrameResult(frame_id=request.frame.frame_id)
    )


class Breaking:
    """A server whose every call gives so many answers and then ends as told; notes what each call was sent."""

    def __init__(self, answers: int, end: Callable[[grpc.ServicerContext], Any]) -> None:
        self.calls: list[list[int]] = []
        self.timeouts: list[bool] = []
        self._answers, self._end = answers, end

    def __call__(self, requests: Iterator[Any], context: grpc.ServicerContext) -> Iterator[Any]:
        sent: list[int] = []
        self.calls.append(sent)
        self.timeouts.append(next(requests).HasField("timeout"))
        for request in islice(requests, self._answers):
            sent.append(request.sequence)
            yield answer(request)
        if len(sent) == self._answers:
            self._end(context)


def numbered(frame: Frame, count: int) -> Iterator[Frame]:
    for number in range(count):
        yield replace(frame, frame_id=f"f{number}")


def away(context: grpc.ServicerContext) -> None:
    context.abort(grpc.StatusCode.UNAVAILABLE, "the replica died")


def reset(context: grpc.ServicerContext) -> None:
    context.abort(grpc.StatusCode.CANCELLED, RESET)


def in_order(context: grpc.ServicerContext) -> None:
    """The call just ends, as one does whose server drains."""


@pytest.mark.parametrize("end", [away, reset, in_order])
def test_a_stream_goes_on_where_it_broke_and_no_frame_is_answered_twice(
    serve: Serve, connect: Connect, frame: Frame, end: Callable[[grpc.ServicerContext], None]
) -> None:
    server = Breaking(5, end)
    client = connect(ScoringClient, serve({STREAM: server}))
    found = [
        (got.sequence, got.result.frame_id) for got in client.stream_scores(numbered(frame, 18), window=4, timeout=A_LONG_TIME)
    ]
    assert found == [(number, f"f{number}") for number in range(18)]
    assert server.calls == [[0, 1, 2, 3, 4], [5, 6, 7, 8, 9], [10, 11, 12, 13, 14], [15, 16, 17]]
    assert all(server.timeouts)


def test_a_stream_without_any_answer_is_given_up_in_time(serve: Serve, connect: Connect, frame: Frame) -> None:
    server = Breaking(0, away)
    client = connect(ScoringClient, serve({STREAM: server}))
    with pytest.raises(Unavailable, match="the replica died"):
        list(client.stream_scores([frame], resume_for=timedelta(seconds=0.3)))
    assert len(server.calls) == 2


def test_what_another_call_would_meet_again_ends_the_stream(
    serve: Serve, connect: Connect, refuse: Refuse, frame: Frame
) -> None:
    server = Breaking(1, lambda context: refuse(context, GenerationNotResident("g000001-00000000 is gone")))
    answers = connect(ScoringClient, serve({STREAM: server})).stream_scores(numbered(frame, 9), window=2)
    assert next(answers).sequence == 0
    with pytest.raises(GenerationNotResident):
        next(answers)
    assert len(server.calls) == 1


class Once:
    """A server whose first call gives one answer and breaks; the next goes on to the end."""

    def __init__(self) -> None:
        self.calls = 0
        self.broken = threading.Event()

    def __call__(self, requests: Iterator[Any], context: grpc.ServicerContext) -> Iterator[Any]:
        self.calls += 1
        next(requests)
        if self.calls == 1:
            yield answer(next(requests))
            self.broken.set()
            away(context)
        yield from map(answer, requests)


def test_a_source_that_waits_while_the_call_breaks_loses_no_frame(serve: Serve, frame: Frame) -> None:
    frames, server = queue.SimpleQueue[Frame | None](), Once()

    def later() -> None:
        assert server.broken.wait(60)
        for found in numbered(frame, 3):
            frames.put(found)
        frames.put(None)

    frames.put(frame)
    with ThreadPoolExecutor(1) as pool, ScoringClient(serve({STREAM: server}), token="t") as client:
        pool.submit(later)
        found = [got.result.frame_id for got in client.stream_scores(iter(frames.get, None))]
    assert found == [frame.frame_id, "f0", "f1", "f2"]
    assert server.calls == 2


def test_an_asynchronous_source_that_waits_while_the_call_breaks_loses_no_frame(serve: Serve, frame: Frame) -> None:
    """It outlives the call: gRPC's own task, which ends with the call, would take its last frame along."""
    server = Once()

    async def frames() -> AsyncIterator[Frame]:
        yield frame
        assert await asyncio.to_thread(server.broken.wait, 60)
        for found in numbered(frame, 3):
            yield found

    async def main(target: str) -> list[str]:
        async with AsyncScoringClient(target, token="t") as client:
            return [got.result.frame_id async for got in client.stream_scores(frames())]

    assert asyncio.run(main(serve({STREAM: server}))) == [frame.frame_id, "f0", "f1", "f2"]
    assert server.calls == 2


def test_no_more_frames_than_the_window_are_read_over_all_calls(serve: Serve, connect: Connect, frame: Frame) -> None:
    taken: list[int] = []

    def source() -> Iterator[Frame]:
        for number in range(1000):
            taken.append(number)
            yield replace(frame, frame_id=f"f{number}")

    answers = connect(ScoringClient, serve({STREAM: Breaking(3, away)})).stream_scores(source(), window=4)
    for count, _ in enumerate(islice(answers, 20), start=1):
        assert len(taken) <= count + 4
    answers.close()


def test_a_stream_that_waits_to_go_on_ends_with_its_client(serve: Serve, frame: Frame) -> None:
    broken = threading.Event()

    def gone(context: grpc.ServicerContext) -> None:
        broken.set()
        away(context)

    server = Breaking(0, gone)
    client = ScoringClient(serve({STREAM: server}), token="t")
    answers = client.stream_scores([frame], resume_for=A_LONG_TIME)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(next, answers)
        assert broken.wait(60)
        client.close()
        assert isinstance(waiting.exception(60), Cancelled)
