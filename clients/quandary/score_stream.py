"""StreamScores from the client's side: frames go out under a window, answers come back, a call that breaks is resumed."""

import logging
import threading
import time
from collections.abc import Callable, Generator, Iterable
from datetime import timedelta
from typing import Any

import grpc

from quandary.conversation import Conversation
from quandary.errors import Cancelled, QuandaryError
from quandary.frames import Frame
from quandary.patience import Resumption
from quandary.rpc_errors import error_of_call
from quandary.v1 import scoring_pb2

__all__ = ["ScoreStream", "Start"]

log = logging.getLogger(__name__)

Start = Callable[[Any, float | None], Any]
"""Starts a call with its requests and its timeout in seconds."""


class ScoreStream:
    """One stream. Threads of its own read `frames` and, of gRPC, send them; the caller's takes the answers.

    closed: set when the client is closed.
    """

    def __init__(
        self,
        start: Start,
        frames: Iterable[Frame],
        talk: Conversation,
        resumption: Resumption,
        closed: threading.Event,
    ) -> None:
        self._start, self._frames, self._talk = start, frames, talk
        self._resumption, self._closed = resumption, closed
        self._changed = threading.Condition()
        self._call: object | None = None
        self._over = False

    def answers(self) -> Generator[scoring_pb2.StreamScoresResponse, None, None]:
        """Yield one answer per frame; closing the generator cancels the call."""
        reader = threading.Thread(target=self._read, name="stream-scores", daemon=True)
        reader.start()
        try:
            while True:
                try:
                    yield from self._converse()
                    break
                except QuandaryError as broken:
                    pause_s = self._resumption.pause_s(broken, time.monotonic())
                    log.warning("stream_broken pause_s=%.2f problem=%s", pause_s, broken)
                    if self._closed.wait(pause_s):
                        raise Cancelled("the client was closed") from broken
        finally:
            with self._changed:
                self._over = True
                self._changed.notify_all()
        self._talk.raise_problem()

    def _converse(self) -> Generator[scoring_pb2.StreamScoresResponse, None, None]:
        """Make one call, from the first frame not answered, until it ends."""
        left_s = self._resumption.left_s(time.monotonic())
        this_call = object()
        with self._changed:
            self._call = this_call
            opening = self._talk.begin(None if left_s is None else timedelta(seconds=left_s))
        try:
            answers = self._start(self._requests(opening, this_call), left_s)
            try:
                for answer in answers:
                    with self._changed:
                        self._talk.note_answer(answer)
                        self._changed.notify_all()
                    self._resumption.note_answer()
                    yield answer
            finally:
                answers.cancel()
                with self._changed:
                    self._call = None
                    self._changed.notify_all()
        except grpc.RpcError as error:
            raise error_of_call(error) from error
        self._talk.check_complete()

    def _requests(
        self, opening: scoring_pb2.StreamScoresRequest, this_call: object
    ) -> Generator[scoring_pb2.StreamScoresRequest, None, None]:
        """Yield the requests of a call as they are read, in gRPC's thread, while it is this call's turn."""
        yield opening
        while True:
            with self._changed:
                while (request := self._talk.next_request() if self._call is this_call else None) is None:
                    if self._call is not this_call or self._talk.all_sent:
                        return
                    self._changed.wait()
            yield request

    def _read(self) -> None:
        """Read the frames as far as the window allows, to their end or to the stream's."""
        problem: Exception | None = None
        try:
            source = iter(self._frames)
            while self._wait_for_place() and (frame := next(source, None)) is not None:
                request = self._talk.request(frame)
                with self._changed:
                    self._talk.note_read(request)
                    self._changed.notify_all()
        except Exception as error:
            problem = error
        with self._changed:
            self._talk.note_last(problem)
            self._changed.notify_all()

    def _wait_for_place(self) -> bool:
        """Return True when the next frame may be read, False when the stream is over."""
        with self._changed:
            self._changed.wait_for(lambda: self._over or self._talk.may_read)
            return not self._over
