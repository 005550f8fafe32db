import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from typing import Any, NoReturn

import grpc
import pytest

from quandary import (
    AsyncScoringClient,
    DeadlineExceeded,
    Estimator,
    Frame,
    Internal,
    InvalidArgument,
    NotServedYet,
    QuandaryError,
    ScoringClient,
    ScoringOptions,
    Unauthenticated,
    Unavailable,
    result_score,
)
from quandary.option_messages import scoring_options
from quandary.v1 import scoring_pb2

Requests = Iterator[scoring_pb2.StreamScoresRequest]
Answers = Iterator[scoring_pb2.StreamScoresResponse]
Serve = Callable[[dict[str, Callable[..., Any]]], str]
Connect = Callable[..., ScoringClient]
Refuse = Callable[[grpc.ServicerContext, QuandaryError], NoReturn]

STREAM = "ScoringService/StreamScores"


def answer(request: scoring_pb2.StreamScoresRequest) -> scoring_pb2.StreamScoresResponse:
    score = scoring_pb2.FrameScore(score=len(request.frame.proposals))
    result = scoring_pb2.FrameResult(frame_id=request.frame.frame_id, score=score)
    return scoring_pb2.StreamScoresResponse(sequence=request.sequence, result=result)


def echo(requests: Requests, context: Any) -> Answers:
    assert next(requests).HasField("options")
    for request in requests:
        yield answer(request)


class Source:
    """Frames numbered by their ids, counted as they are read."""

    def __init__(self, frame: Frame, count: int) -> None:
        self.read = 0
        self._frame = frame
        self._count = count

    def __iter__(self) -> Iterator[Frame]:
        for number in range(self._count):
            self.read += 1
            yield replace(self._frame, frame_id=f"frame-{number}")


class Silent:
    """A server that takes every frame it can get and answers none."""

    def __init__(self) -> None:
        self.sequences: list[int] = []
        self.begun = threading.Event()
        self.hung_up = threading.Event()

    def __call__(self, requests: Requests, context: grpc.ServicerContext) -> Answers:
        context.add_callback(self.hung_up.set)
        with suppress(Exception):  # so gRPC tells a server that the client has gone
            next(requests)
            for request in requests:
                self.sequences.append(request.sequence)
                self.begun.set()
        yield from ()


def test_every_frame_gets_one_answer(serve: Serve, connect: Connect, frame: Frame) -> None:
    source = Source(frame, 100)
    answers = list(connect(ScoringClient, serve({STREAM: echo})).stream_scores(source, window=7))
    assert [found.sequence for found in answers] == list(range(100))
    assert [found.result.frame_id for found in answers] == [f"frame-{number}" for number in range(100)]
    assert {result_score(found.result).score for found in answers} == {2}


def test_no_frames_are_no_answers(serve: Serve, connect: Connect) -> None:
    assert list(connect(ScoringClient, serve({STREAM: echo})).stream_scores([])) == []


def test_answers_may_come_in_any_order(serve: Serve, connect: Connect, frame: Frame) -> None:
    def backwards(requests: Requests, context: Any) -> Answers:
        next(requests)
        yield from reversed([answer(request) for request in requests])

    answers = list(connect(ScoringClient, serve({STREAM: backwards})).stream_scores(Source(frame, 5), window=6))
    assert [(found.sequence, found.result.frame_id) for found in answers] == [(n, f"frame-{n}") for n in (4, 3, 2, 1, 0)]


@pytest.mark.parametrize("crop", [True, False])
def test_options_go_first_and_crops_in_place_of_clouds(serve: Serve, connect: Connect, frame: Frame, crop: bool) -> None:
    seen: list[scoring_pb2.StreamScoresRequest] = []

    def note(requests: Requests, context: Any) -> Answers:
        for request in requests:
            seen.append(request)
            if request.HasField("frame"):
                yield answer(request)

    options = ScoringOptions(Estimator.SOFTMAX)
    list(connect(ScoringClient, serve({STREAM: note})).stream_scores([frame], options, crop=crop))
    assert [request.WhichOneof("message") for request in seen] == ["options", "frame"]
    assert scoring_options(seen[0].options) == options
    assert seen[1].frame.WhichOneof("lidar") == ("crops" if crop else "cloud")


def test_no_frame_is_read_beyond_the_window(serve: Serve, connect: Connect, frame: Frame) -> None:
    server, source = Silent(), Source(frame, 100)
    client = connect(ScoringClient, serve({STREAM: server}))
    with pytest.raises(DeadlineExceeded):
        next(client.stream_scores(source, window=5, timeout=timedelta(seconds=1)))
    assert source.read == 5
    assert set(server.sequences) <= {0, 1, 2, 3, 4}


def test_an_answer_makes_room_for_one_frame(serve: Serve, connect: Connect, frame: Frame) -> None:
    source = Source(frame, 100)
    answers = connect(ScoringClient, serve({STREAM: echo})).stream_scores(source, window=3)
    for count, _ in zip(range(1, 40), answers, strict=False):
        assert source.read <= count + 3
    answers.close()


def test_closing_the_iterator_hangs_up(serve: Serve, connect: Connect, frame: Frame) -> None:
    hung_up = threading.Event()

    def first_only(requests: Requests, context: grpc.ServicerContext) -> Answers:
        context.add_callback(hung_up.set)
        next(requests)
        yield answer(next(requests))
        hung_up.wait()

    source = Source(frame, 100)
    answers = connect(ScoringClient, serve({STREAM: first_only})).stream_scores(source, window=4)
    assert next(answers).sequence == 0
    answers.close()
    assert hung_up.wait(60)
    assert source.read <= 5


def test_an_error_of_the_source_comes_after_the_answers_before_it(serve: Serve, connect: Connect, frame: Frame) -> None:
    def breaking() -> Iterator[Frame]:
        yield from Source(frame, 3)
        raise OSError("the disk is gone")

    answers = connect(ScoringClient, serve({STREAM: echo})).stream_scores(breaking())
    assert [next(answers).sequence for _ in range(3)] == [0, 1, 2]
    with pytest.raises(OSError, match="the disk is gone"):
        next(answers)


def test_an_error_of_the_server_ends_the_stream(serve: Serve, connect: Connect, refuse: Refuse, frame: Frame) -> None:
    def breaking(requests: Requests, context: grpc.ServicerContext) -> Answers:
        next(requests)
        yield answer(next(requests))
        refuse(context, InvalidArgument.of("options", "twice", "once"))

    answers = connect(ScoringClient, serve({STREAM: breaking})).stream_scores(Source(frame, 100))
    assert next(answers).sequence == 0
    with pytest.raises(InvalidArgument) as error:
        next(answers)
    assert error.value.violations[0].field == "options"


def test_a_stream_refused_at_once_keeps_its_error(serve: Serve, connect: Connect, refuse: Refuse, frame: Frame) -> None:
    """The client is still writing: grpc.aio would say INTERNAL to nine of ten (grpc/grpc#36066)."""

    def refusing(requests: Requests, context: grpc.ServicerContext) -> Answers:
        refuse(context, Unauthenticated("no valid token"))

    client = connect(ScoringClient, serve({STREAM: refusing}))
    for _ in range(20):
        with pytest.raises(Unauthenticated, match="no valid token"):
            next(client.stream_scores(Source(frame, 100)))


def test_a_stream_that_ends_before_its_frames_is_an_error(serve: Serve, connect: Connect, frame: Frame) -> None:
    def one_only(requests: Requests, context: Any) -> Answers:
        next(requests)
        yield answer(next(requests))

    client = connect(ScoringClient, serve({STREAM: one_only}))
    for _ in range(20):
        with pytest.raises(Unavailable, match="the stream ended"):
            list(client.stream_scores(Source(frame, 100), window=1, resume_for=timedelta()))


def test_frames_left_without_an_answer_are_an_error(serve: Serve, connect: Connect, frame: Frame) -> None:
    def every_other(requests: Requests, context: Any) -> Answers:
        next(requests)
        yield from (answer(request) for request in requests if request.sequence % 2 == 0)

    client = connect(ScoringClient, serve({STREAM: every_other}))
    answers = client.stream_scores(Source(frame, 6), resume_for=timedelta())
    assert [next(answers).sequence for _ in range(3)] == [0, 2, 4]
    with pytest.raises(Unavailable, match="3 frames unanswered, the first is 1"):
        next(answers)


@pytest.mark.parametrize("sequence", [7, 0])
def test_an_answer_that_nobody_waits_for_is_an_error(serve: Serve, connect: Connect, frame: Frame, sequence: int) -> None:
    def strange(requests: Requests, context: Any) -> Answers:
        next(requests)
        yield answer(next(requests))
        yield scoring_pb2.StreamScoresResponse(sequence=sequence)

    answers = connect(ScoringClient, serve({STREAM: strange})).stream_scores([frame])
    assert next(answers).sequence == 0
    with pytest.raises(Internal, match=f"sequence {sequence}"):
        next(answers)


def test_an_asynchronous_source_is_read_no_further_than_the_window(serve: Serve, frame: Frame) -> None:
    server, source = Silent(), Source(frame, 100)

    async def frames() -> AsyncIterator[Frame]:
        for found in source:
            yield found

    async def main(target: str) -> None:
        async with AsyncScoringClient(target, token="t") as client:
            with pytest.raises(DeadlineExceeded):
                await anext(client.stream_scores(frames(), window=5, timeout=timedelta(seconds=1)))

    asyncio.run(main(serve({STREAM: server})))
    assert source.read == 5


def test_an_asynchronous_source_is_scored_to_its_end(serve: Serve, frame: Frame) -> None:
    async def frames() -> AsyncIterator[Frame]:
        for found in Source(frame, 50):
            await asyncio.sleep(0)
            yield found

    async def main(target: str) -> list[int]:
        async with AsyncScoringClient(target, token="t") as client:
            return [found.sequence async for found in client.stream_scores(frames(), window=4)]

    assert asyncio.run(main(serve({STREAM: echo}))) == list(range(50))


def test_cancelling_the_task_that_reads_hangs_up(serve: Serve, frame: Frame) -> None:
    server = Silent()

    async def frames() -> AsyncIterator[Frame]:
        yield frame
        await asyncio.get_running_loop().create_future()

    async def main(target: str) -> None:
        async with AsyncScoringClient(target, token="t") as client:
            task = asyncio.ensure_future(anext(client.stream_scores(frames())))
            assert await asyncio.to_thread(server.begun.wait, 60)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert await asyncio.to_thread(server.hung_up.wait, 60)

    asyncio.run(main(serve({STREAM: server})))


def test_refusals(serve: Serve, connect: Connect, frame: Frame) -> None:
    client = connect(ScoringClient, serve({}))
    with pytest.raises(InvalidArgument, match="window"):
        client.stream_scores([frame], window=0)
    with pytest.raises(InvalidArgument, match="timeout"):
        client.stream_scores([frame], timeout=timedelta())
    with pytest.raises(InvalidArgument, match="resume_for"):
        client.stream_scores([frame], resume_for=timedelta(seconds=-1))
    with pytest.raises(NotServedYet):
        next(client.stream_scores([frame]))
