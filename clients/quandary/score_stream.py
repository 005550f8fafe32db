"""StreamScores from the client's side: frames go out under a window, answers come back in any order.

A frame holds a place of the window from before it is read from the caller's iterable until its answer is read, so that
neither side can run ahead of the other.
"""

import asyncio
import threading
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Generator, Iterable
from typing import Any

import grpc

from quandary.convert import frame_message
from quandary.errors import Internal, InvalidArgument, Unavailable
from quandary.frames import Frame
from quandary.option_messages import options_message
from quandary.options import ScoringOptions
from quandary.rpc_errors import error_of_call, translated_errors
from quandary.stream_status import StreamStatus
from quandary.v1 import scoring_pb2

__all__ = ["Conversation", "converse", "converse_async"]


class Conversation:
    """What was said on one stream: the options, the frames sent and numbered from 0, those answered.

    crop: send the crops of a frame that has a whole cloud. Raises InvalidArgument for a window < 1.
    """

    def __init__(self, options: ScoringOptions, window: int, crop: bool) -> None:
        if window < 1:
            raise InvalidArgument.of("window", window, ">= 1")
        self.window = window
        self._options = options
        self._crop = crop
        self._sent = 0
        self._all_sent = False
        self._unanswered: set[int] = set()

    def opening(self) -> scoring_pb2.StreamScoresRequest:
        """Return the first message."""
        return scoring_pb2.StreamScoresRequest(options=options_message(self._options))

    def next_request(self, frame: Frame) -> scoring_pb2.StreamScoresRequest:
        """Return the message of the next frame."""
        message = frame_message(frame.lightest() if self._crop else frame)
        request = scoring_pb2.StreamScoresRequest(frame=message, sequence=self._sent)
        self._unanswered.add(self._sent)
        self._sent += 1
        return request

    def note_last(self) -> None:
        """Take note that there are no more frames."""
        self._all_sent = True

    def note_answer(self, answer: scoring_pb2.StreamScoresResponse) -> None:
        """Take note of an answer; raises Internal if it answers no frame that waits."""
        if answer.sequence not in self._unanswered:
            raise Internal(f"an answer came to sequence {answer.sequence}, which does not wait for one")
        self._unanswered.remove(answer.sequence)

    def end(self) -> None:
        """Take note of the stream's end; raises Unavailable if it came before the frames' or leaves some unanswered."""
        if self._unanswered:
            first = min(self._unanswered)
            raise Unavailable(f"the stream ended with {len(self._unanswered)} frames unanswered, the first is {first}")
        if not self._all_sent:
            raise Unavailable(f"the stream ended after {self._sent} frames, before their end")


def converse(
    start: Callable[[Iterable[scoring_pb2.StreamScoresRequest]], Any], frames: Iterable[Frame], talk: Conversation
) -> Generator[scoring_pb2.StreamScoresResponse, None, None]:
    """Start the call, send the frames, yield the answers; closing the generator cancels the call.

    gRPC reads the requests, and so `frames`, in a thread of its own. Where `frames` raises, no more are sent, and its error is
    raised here after the answers to those that were.
    """
    places = threading.Semaphore(talk.window)
    closed = threading.Event()
    broken: list[Exception] = []

    def requests() -> Generator[scoring_pb2.StreamScoresRequest, None, None]:
        try:
            yield talk.opening()
            source = iter(frames)
            while places.acquire() and not closed.is_set():
                if (frame := next(source, None)) is None:
                    talk.note_last()
                    return
                yield talk.next_request(frame)
        except Exception as error:
            broken.append(error)

    with translated_errors():
        answers = start(requests())
        try:
            for answer in answers:
                talk.note_answer(answer)
                places.release()
                yield answer
        finally:
            answers.cancel()
            closed.set()
            places.release()  # wakes the thread that waits for a place
    if broken:
        raise broken[0]
    talk.end()


async def converse_async(
    start: Callable[[AsyncIterable[scoring_pb2.StreamScoresRequest]], Any], frames: AsyncIterable[Frame], talk: Conversation
) -> AsyncGenerator[scoring_pb2.StreamScoresResponse, None]:
    """Start the call, send the frames, yield the answers, as `converse`; `frames` is read in a task of gRPC's."""
    places = asyncio.Semaphore(talk.window)
    closed = asyncio.Event()
    broken: list[Exception] = []

    async def requests() -> AsyncGenerator[scoring_pb2.StreamScoresRequest, None]:
        try:
            yield talk.opening()
            source = aiter(frames)
            while await places.acquire() and not closed.is_set():
                if (frame := await anext(source, None)) is None:
                    talk.note_last()
                    return
                yield talk.next_request(frame)
        except Exception as error:
            broken.append(error)

    answers = start(requests())
    status = StreamStatus(answers)
    try:
        async for answer in answers:
            talk.note_answer(answer)
            places.release()
            yield answer
    except grpc.RpcError as raised:
        if (error := await status.error(raised)) is not None:
            raise error_of_call(error) from error
    finally:
        answers.cancel()
        closed.set()
        places.release()  # wakes the task that waits for a place
    if broken:
        raise broken[0]
    talk.end()
