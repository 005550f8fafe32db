"""Clients of ScoringService."""

from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Generator, Iterable
from datetime import timedelta
from functools import partial
from typing import Any

from quandary.calls import Call
from quandary.clients import AsyncClient, Client
from quandary.convert import duration_message, frame_message
from quandary.frames import Frame
from quandary.methods import Unary
from quandary.option_messages import options_message
from quandary.options import ScoringOptions
from quandary.score_stream import Conversation, converse, converse_async
from quandary.v1 import scoring_pb2, scoring_pb2_grpc

__all__ = ["AsyncScoringClient", "ScoringClient"]

DEFAULT_OPTIONS = ScoringOptions()
DEFAULT_WINDOW = 64


class ScoringCalls:
    """The calls that both scoring clients make in the same way."""

    _timeout: timedelta
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
        that is refused costs its neighbours nothing: `result_score` raises its error. Raises NoGeneration, Overloaded,
        InvalidArgument for wrong options, and the errors of any call.
        """
        allowed = self._timeout if timeout is None else timeout
        request = scoring_pb2.ScoreFramesRequest(
            options=options_message(options),
            frames=[frame_message(frame.lightest() if crop else frame) for frame in frames],
            timeout=duration_message(allowed),  # the ingress does not hand the call's own deadline on
        )
        return Call.of(self._scoring.ScoreFrames, request, lambda response: response, allowed)

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
    ) -> Generator[scoring_pb2.StreamScoresResponse, None, None]:
        """Score frames as they come: one answer per frame, in the order in which they are ready.

        `sequence` of an answer is the frame's place in `frames`, from 0. At most `window` frames are read and not yet
        answered. `frames` is read in another thread; an error of it is raised here after the answers to the frames before.
        Closing the generator cancels the call. timeout: for the whole stream, None is no limit. A stream is never retried:
        Unavailable leaves it to the caller to send the unanswered frames again.
        """
        talk = Conversation(options, window, crop)
        seconds = None if timeout is None else self._caller.connection.seconds(timeout)
        start = partial(self._scoring.StreamScores, timeout=seconds, metadata=self._caller.connection.metadata)
        return converse(start, frames, talk)


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
    ) -> AsyncGenerator[scoring_pb2.StreamScoresResponse, None]:
        """Score frames as they come, as ScoringClient.stream_scores does; `frames` is read in another task of this loop."""
        talk = Conversation(options, window, crop)
        seconds = None if timeout is None else self._caller.connection.seconds(timeout)
        start = partial(self._scoring.StreamScores, timeout=seconds, metadata=self._caller.connection.metadata)
        return converse_async(start, frames if isinstance(frames, AsyncIterable) else _awaited(frames), talk)


async def _awaited(frames: Iterable[Frame]) -> AsyncIterator[Frame]:
    for frame in frames:
        yield frame
