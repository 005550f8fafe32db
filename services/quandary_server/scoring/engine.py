"""Scores requests: one compute thread per replica, a bounded amount of work in front of it."""

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import TypeVar

from quandary.error_messages import error_message
from quandary.errors import (
    DeadlineExceeded,
    MeaninglessRequest,
    Overloaded,
    QuandaryError,
    within,
)
from quandary.frames import MAX_IDENTIFIER_CHARACTERS, Frame
from quandary.options import ScoringOptions
from quandary.v1 import scoring_pb2
from quandary_server.frustum.raster import Rasters, rasterise, with_jitter
from quandary_server.inference.generation import Generation, sample_count
from quandary_server.inference.object_scores import ObjectScores
from quandary_server.inference.scores import score_rasters
from quandary_server.wire import frames as wire_frames
from quandary_server.wire.door import known
from quandary_server.wire.scores import empty_score, frame_score

Result = TypeVar("Result")

RETRY_AFTER = timedelta(milliseconds=200)

MAX_DRAWS = 100_000
"""Crops times samples that are drawn at once: some 100 MB."""


@dataclass(frozen=True)
class Work:
    """What has been measured of one request: crops scored, frames scored and refused, seconds of compute."""

    crops: int
    scored: int
    refused: int
    seconds: float


@dataclass(frozen=True)
class Ready:
    """A frame that can be scored, with the rasters of its crops."""

    frame: Frame
    rasters: Rasters


class Engine:
    """Admits by crops, computes in one thread; whatever waits can still be dropped when its caller gives up."""

    def __init__(
        self,
        limits: wire_frames.Limits,
        max_waiting_crops: int,
        report: Callable[[ScoringOptions, Work, int], None],
        threads: int = 1,
    ) -> None:
        self._limits, self._max_waiting, self._report = limits, max_waiting_crops, report
        self._waiting = 0
        self._freed = asyncio.Event()
        self._threads = ThreadPoolExecutor(max_workers=threads, thread_name_prefix="score")

    def close(self) -> None:
        """End the compute threads when their work is done."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def score(
        self,
        generation: Generation,
        messages: Sequence[scoring_pb2.FrameInput],
        paths: Sequence[str],
        options: ScoringOptions,
        deadline: float | None,
        *,
        patient: bool = False,
    ) -> list[scoring_pb2.FrameResult]:
        """Return one result per frame, all of this generation; wrong frames are answered in band.

        paths: where each frame stands in the request, for its errors. deadline: by time.monotonic(). Where too much work waits
        already, a patient call waits as well and another raises Overloaded. Raises DeadlineExceeded where the deadline passes
        before the work is begun.
        """
        most = self._limits.max_proposals
        crops = sum(max(len(message.proposals), 1) for message in messages if len(message.proposals) <= most)
        crops *= 1 + options.jittered_proposals
        compute = partial(self._compute, generation, messages, paths, options)
        return await self.run(crops, options, compute, deadline, patient=patient)

    async def run(
        self,
        crops: int,
        options: ScoringOptions,
        compute: Callable[[], tuple[Result, Work]],
        deadline: float | None,
        *,
        patient: bool = False,
    ) -> Result:
        """Return what `compute` gives in the compute thread, admitted by its crops; raises as `score` does."""
        while self._waiting and self._waiting + crops > self._max_waiting:
            if not patient:
                raise Overloaded(f"{self._waiting} crops are waiting, at most {self._max_waiting} may", retry_after=RETRY_AFTER)
            self._freed.clear()
            await self._freed.wait()
        self._waiting += crops
        try:
            result, work = await asyncio.get_running_loop().run_in_executor(self._threads, _in_time, deadline, compute)
        finally:
            self._waiting -= crops
            self._freed.set()
        self._report(options, work, self._waiting)
        return result

    def _compute(
        self,
        generation: Generation,
        messages: Sequence[scoring_pb2.FrameInput],
        paths: Sequence[str],
        options: ScoringOptions,
    ) -> tuple[list[scoring_pb2.FrameResult], Work]:
        """Parse, rasterise, draw, reduce, answer."""
        started = time.perf_counter()
        parsed = [self._prepare(message, path, generation, options) for message, path in zip(messages, paths, strict=True)]
        results: list[scoring_pb2.FrameResult] = []
        crops = 0
        draws = sample_count(options, generation.members) * (1 + options.jittered_proposals)
        for part in _parts(parsed, MAX_DRAWS // draws):
            rasters = [ready.rasters for ready in parsed[part] if isinstance(ready, Ready) and len(ready.rasters)]
            scores = score_rasters(generation, Rasters.joined(rasters), options) if rasters else None
            results += _answer(messages[part], parsed[part], scores, generation, options)
            crops += sum(map(len, rasters))

        refused = sum(result.HasField("error") for result in results)
        return results, Work(crops, len(results) - refused, refused, time.perf_counter() - started)

    def _prepare(
        self, message: scoring_pb2.FrameInput, path: str, generation: Generation, options: ScoringOptions
    ) -> Ready | QuandaryError:
        """Parse and rasterise one frame; what is wrong with it comes back as a value."""
        try:
            with within(path):
                wire_frames.check_jitter([message], options.jittered_proposals, self._limits, "proposals")
                frame = wire_frames.frame(message, self._limits).cropped()
                crops, boxes = frame.crops or [], [proposal.box for proposal in frame.proposals]
                rasters = rasterise(crops, frame.calibration, boxes, generation.manifest.net.side)
                if options.jittered_proposals and boxes:
                    seed = generation.seed(options.seed)
                    rasters = with_jitter(rasters, crops, frame.calibration, boxes, options.jittered_proposals, seed)
                return Ready(frame, rasters)
        except Exception as error:
            return known(error, "prepare_frame")


def _in_time(deadline: float | None, compute: Callable[[], tuple[Result, Work]]) -> tuple[Result, Work]:
    if deadline is not None and time.monotonic() > deadline:
        raise DeadlineExceeded("the timeout passed before the frames were scored")
    return compute()


def _parts(parsed: Sequence[Ready | QuandaryError], crops: int) -> Iterator[slice]:
    """Yield slices of whole frames of at most so many crops together, or of one frame: what is in memory at a time."""
    start = held = 0
    for stop, ready in enumerate(parsed):
        more = len(ready.rasters) if isinstance(ready, Ready) else 0
        if held and held + more > crops:
            yield slice(start, stop)
            start, held = stop, 0
        held += more
    yield slice(start, len(parsed))


def check_samples(options: ScoringOptions, members: int, path: str = "options") -> None:
    """Raise MeaninglessRequest for an acquisition that needs several samples of a generation that gives one.

    path: where the options are in the request.
    """
    if options.effective_acquisition.needs_samples and sample_count(options, members) < 2:
        raise MeaninglessRequest.of(
            f"{path}.acquisition",
            options.effective_acquisition.name,
            f"one that needs no samples: {options.estimator.name} of this generation's {members} member gives one",
        )


def _answer(
    messages: Sequence[scoring_pb2.FrameInput],
    parsed: Sequence[Ready | QuandaryError],
    scores: ObjectScores | None,
    generation: Generation,
    options: ScoringOptions,
) -> list[scoring_pb2.FrameResult]:
    """Return one result per message: the scores are of the ready frames, in their order."""
    results, start = [], 0
    for message, ready in zip(messages, parsed, strict=True):
        result = scoring_pb2.FrameResult(frame_id=message.frame_id[:MAX_IDENTIFIER_CHARACTERS], generation=generation.id)
        if isinstance(ready, Ready):
            part = slice(start, start + len(ready.rasters))
            start = part.stop
            try:
                result.score.CopyFrom(_score(ready.frame, part, scores, generation, options))
            except QuandaryError as error:
                result.error.CopyFrom(error_message(error))
        else:
            result.error.CopyFrom(error_message(ready))
        results.append(result)
    return results


def _score(
    frame: Frame, part: slice, scores: ObjectScores | None, generation: Generation, options: ScoringOptions
) -> scoring_pb2.FrameScore:
    classes, seed = generation.manifest.classes, generation.seed(options.seed)
    samples = sample_count(options, generation.members)
    if scores is None or part.start == part.stop:
        return empty_score(options, classes, samples, seed)
    return frame_score(frame, scores, part, options, classes, samples, seed)
