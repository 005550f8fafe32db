"""Has frames of the log scored by the scoring service."""

import asyncio
import logging
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Protocol

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, wait_exponential_jitter

from quandary.error_messages import result_score
from quandary.errors import InvalidArgument, NoGeneration, QuandaryError, TooLarge, Unavailable
from quandary.frames import Frame
from quandary.options import ScoringOptions
from quandary.records import FrameRecord
from quandary.scoring import AsyncScoringClient
from quandary.v1 import scoring_pb2
from quandary_server.storage.blobs import read_cloud
from quandary_server.storage.task_values import RejectKind

log = logging.getLogger(__name__)

FIRST_WAIT_S, LONGEST_WAIT_S = 0.2, 5.0


@dataclass(frozen=True)
class Scored:
    """A frame's score, the generation that gave it, and the serialised FrameScore."""

    score: float
    generation: str
    frame_score: bytes = field(repr=False)


class FrameRefused(Exception):
    """A frame that cannot be scored, today or tomorrow; its text says why, `kind` what was wrong in a word."""

    def __init__(self, text: str, kind: RejectKind = RejectKind.NOT_SCORABLE) -> None:
        super().__init__(text)
        self.kind = kind


class Scorer(Protocol):
    """Scores frames by the generation that answers now."""

    async def score(self, record: FrameRecord) -> Scored | None:
        """Return the score of a frame, None while there is no generation; raises FrameRefused."""

    async def generation(self) -> str:
        """Return the id of the generation that answers; empty while none does."""


class FrameScorer:
    """Reads clouds, crops them and has them scored.

    Only what is wrong with the frame itself refuses it. All else (scoring away, overloaded, broken, our token changed) is
    waited for, however long it lasts: no frame is lost to it. `waiting` is called before each such wait, `took` with the
    seconds that a scored frame took in all.

    readers: threads that read and crop, fewer than frames are in flight. NumPy lets the interpreter go at every call, and
    threads that all want it back spend as much on waking each other as on the crops.
    """

    def __init__(
        self,
        client: AsyncScoringClient,
        options: ScoringOptions,
        waiting: Callable[[], None],
        took: Callable[[float], None],
        readers: int = 2,
    ) -> None:
        self._client, self._options, self._waiting, self._took = client, options, waiting, took
        self._readers = ThreadPoolExecutor(readers, thread_name_prefix="reader")

    async def score(self, record: FrameRecord) -> Scored | None:
        """Return the score of a frame, None while there is no generation.

        Raises FrameRefused, and Unavailable where the cloud cannot be read now: the disk is away, a library is not installed.
        """
        started = time.perf_counter()
        try:
            frame = await asyncio.get_running_loop().run_in_executor(self._readers, _crop, record)
        except Unavailable:
            raise
        except QuandaryError as error:
            raise FrameRefused(str(error), RejectKind.CLOUD) from error
        async for attempt in self._retrying():
            with attempt:
                try:
                    response = await self._client.score_frames([frame], self._options)
                except NoGeneration:
                    return None
                except (InvalidArgument, TooLarge) as error:
                    if _blames_frame(error):
                        raise FrameRefused(str(error)) from error
                    raise
                found = _scored_or_refused(response)
                self._took(time.perf_counter() - started)
                return found
        raise AssertionError("a retrying without a stop ends with an answer or an error")

    async def generation(self) -> str:
        """Return the id of the generation that answers; empty before the first, and while scoring is away."""
        try:
            return (await self._client.serving_status()).generation
        except QuandaryError as error:
            log.warning("generation_unknown problem=%s", error)
            return ""

    def close(self) -> None:
        """Begin no reading any more, and wait for what is being read."""
        self._readers.shutdown(cancel_futures=True)

    def _retrying(self) -> AsyncRetrying:
        return AsyncRetrying(
            retry=retry_if_exception_type(QuandaryError),
            wait=wait_exponential_jitter(multiplier=FIRST_WAIT_S, max=LONGEST_WAIT_S),
            before_sleep=self._tell,
            reraise=True,
        )

    def _tell(self, state: RetryCallState) -> None:
        self._waiting()
        problem = state.outcome.exception() if state.outcome else None
        log.warning("scoring_waited attempt=%d problem=%s", state.attempt_number, problem)


def scored(score: scoring_pb2.FrameScore, generation: str) -> Scored:
    """Return a FrameScore as it is kept."""
    return Scored(score.score, generation, score.SerializeToString())


def _scored_or_refused(response: scoring_pb2.ScoreFramesResponse) -> Scored:
    try:
        return scored(result_score(response.results[0]), response.generation)
    except QuandaryError as error:
        raise FrameRefused(str(error)) from error


def _blames_frame(error: QuandaryError) -> bool:
    return any(violation.field.startswith("frames") for violation in error.violations)


def _crop(record: FrameRecord) -> Frame:
    points = read_cloud(record.cloud_uri)
    return Frame(record.frame_id, record.calibration, record.proposals, points=points, drive_id=record.drive_id).lightest()
