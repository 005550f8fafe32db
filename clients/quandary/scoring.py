"""Clients of ScoringService."""

import random
import time
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Generator, Iterable
from datetime import timedelta
from typing import Any

from quandary.async_score_stream import AsyncScoreStream
from quandary.calls import Call
from quandary.clients import AsyncClient, Client
from quandary.conversation import Conversation
from quandary.convert import duration_message, frame_message
from quandary.errors import InvalidArgument
from quandary.frames import Frame
from quandary.methods import Unary
from quandary.option_messages import options_message
from quandary.options import ScoringOptions
from quandary.patience import Resumption
from quandary.score_stream import ScoreStream
from quandary.v1 import scoring_pb2, scoring_pb2_grpc

__all__ = ["AsyncScoringClient", "ScoringClient"]

DEFAULT_OPTIONS = ScoringOptions()
DEFAULT_WINDOW = 64
DEFAULT_RESUME_FOR = timedelta(seconds=30)


class ScoringCalls:
    """The calls that both scoring clients make in the same way."""

    _timeout: timedelta
    _caller: Any
    _scoring: scoring_pb2_grpc.ScoringServiceStub

    def _use(self, channel: Any) -> None:
        self._scoring = scoring_pb2_grpc.ScoringServiceStub(channel)

    @Unary
    def score_frames(
        self,
        frames: Iterable[Frame],
        options: ScoringOptions = DEFAULT_OPTIONS,
        *,
        crop: bool = True,
        timeout: timedelta | None = None,
    ) -> Call[scoring_pb2.ScoreFramesResponse]:
        """Score a batch of frames: one result per frame, in their order, all of one generation.

        crop: cut the frusta here and send them in place of whole clouds: less to send, the same scores to the bit (a
            frame whose crops together are larger than its cloud goes as it is). A frame
        that is refused costs its neighbours nothing: `result_score` raises its error. A service that is overloaded says when to
        come back, and is asked again while the timeout allows. Raises NoGeneration, Overloaded, InvalidArgument for wrong
        options, and the errors of any call.
        """
        allowed = self._timeout if timeout is None else timeout
        request = scoring_pb2.ScoreFramesRequest(
            options=options_message(options),
            frames=[frame_message(frame.lightest() if crop else frame) for frame in frames],
            timeout=duration_message(allowed),  # the ingress does not hand the call's own deadline on
        )

        def again(left: timedelta) -> scoring_pb2.ScoreFramesRequest:
            request.timeout.FromTimedelta(left)
            request.returning = True
            return request

        return Call.of(self._scoring.ScoreFrames, request, lambda response: response, allowed, again)

    def _start_stream(self, requests: Any, seconds: float | None) -> Any:
        """Start the call of a stream, with the token as it is now."""
        return self._scoring.StreamScores(requests, timeout=seconds, metadata=self._caller.connection.metadata)

    def _deadline(self, timeout: timedelta | None) -> float | None:
        return None if timeout is None else time.monotonic() + float(self._caller.connection.seconds(timeout))

    @Unary
    def serving_status(self, *, timeout: timedelta | None = None) -> Call[scoring_pb2.GetServingStatusResponse]:
        """Return what the answering replica serves and its limits; it answers before the first generation, too."""
        request = scoring_pb2.GetServingStatusRequest()
        return Call.of(self._scoring.GetServingStatus, request, lambda response: response, timeout)


class ScoringClient(ScoringCalls, Client):
    """Scores frames for the uncertainty of the detector."""

    def stream_scores(
        self,
        frames: Iterable[Frame],
        options: ScoringOptions = DEFAULT_OPTIONS,
        *,
        window: int = DEFAULT_WINDOW,
        crop: bool = True,
        timeout: timedelta | None = None,
        resume_for: timedelta = DEFAULT_RESUME_FOR,
    ) -> Generator[scoring_pb2.StreamScoresResponse, None, None]:
        """Score frames as they come: exactly one answer per frame, in the order of the frames.

        `sequence` of an answer is the frame's place in `frames`, from 0. At most `window` frames are read and not yet
        answered. `frames` is read in another thread; an error of it is raised here after the answers to the frames before.
        Closing the generator cancels the call, and what the server has not begun is not computed. timeout: for the whole
        stream, None is no limit.

        Where the call breaks (a replica died, a proxy was loaded anew) another one goes on with the frames that have no
        answer, after pauses that grow; Unavailable is raised when no answer came for `resume_for`, at the first break for zero.
        """
        talk = Conversation(options, window, crop)
        resumption = Resumption(_resume_s(resume_for), self._deadline(timeout), random.random)
        return ScoreStream(self._start_stream, frames, talk, resumption, self._caller.closed).answers()


class AsyncScoringClient(ScoringCalls, AsyncClient):
    """Scores frames for the uncertainty of the detector, awaited. Cropping runs on the event loop: some ms a frame."""

    def stream_scores(
        self,
        frames: AsyncIterable[Frame] | Iterable[Frame],
        options: ScoringOptions = DEFAULT_OPTIONS,
        *,
        window: int = DEFAULT_WINDOW,
        crop: bool = True,
        timeout: timedelta | None = None,
        resume_for: timedelta = DEFAULT_RESUME_FOR,
    ) -> AsyncGenerator[scoring_pb2.StreamScoresResponse, None]:
        """Score frames as they come, as ScoringClient.stream_scores does; `frames` is read in another task of this loop."""
        talk = Conversation(options, window, crop)
        resumption = Resumption(_resume_s(resume_for), self._deadline(timeout), random.random)
        source = frames if isinstance(frames, AsyncIterable) else _awaited(frames)
        return AsyncScoreStream(self._start_stream, source, talk, resumption, self._caller.closed).answers()


def _resume_s(resume_for: timedelta) -> float:
    if resume_for < timedelta():
        raise InvalidArgument.of("resume_for", resume_for, ">= 0")
    return resume_for.total_seconds()


async def _awaited(frames: Iterable[Frame]) -> AsyncIterator[Frame]:
    for frame in frames:
        yield frame
