"""Scores requests: parse, rasterise, draw, reduce, answer, in parts that take turns in the compute threads."""

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol, TypeVar

from quandary.error_messages import error_message
from quandary.errors import MeaninglessRequest, QuandaryError, within
from quandary.frames import MAX_IDENTIFIER_CHARACTERS, Frame
from quandary.options import ScoringOptions
from quandary.v1 import scoring_pb2
from quandary_server.frustum.raster import Rasters, rasterise, with_jitter
from quandary_server.inference.device import CROPS_PER_RUN
from quandary_server.inference.generation import Generation, sample_count
from quandary_server.inference.object_scores import ObjectScores
from quandary_server.scoring import schedule
from quandary_server.scoring.admission import Admission, QueueLimit
from quandary_server.scoring.batch import BatchLimit, Together
from quandary_server.scoring.compute import Compute
from quandary_server.scoring.cost import load_of
from quandary_server.scoring.joint import Scorable, score_jointly
from quandary_server.scoring.schedule import Part, Schedule, Terms
from quandary_server.scoring.work import Work
from quandary_server.wire import frames as wire_frames
from quandary_server.wire.door import known
from quandary_server.wire.scores import empty_score, frame_score

Result = TypeVar("Result")

MAX_DRAWS = 100_000
"""Crops times samples that are drawn at once: some 100 MB."""


@dataclass(frozen=True)
class Ready:
    """A frame that can be scored, with the rasters of its crops."""

    frame: Frame
    rasters: Rasters


class Observer(schedule.Observer, Protocol):
    """Is told what becomes of requests and what they were made of."""

    def work(self, options: ScoringOptions, work: Work) -> None:
        """Take note of a request that was answered."""


class Engine:
    """Scores frames, and runs other work of theirs, in parts that take turns.

    batching: parts of one kind that wait at the same time are computed as one, up to this limit; None: each by itself.
    """

    def __init__(
        self,
        limits: wire_frames.Limits,
        queue: QueueLimit,
        observer: Observer,
        threads: int = 1,
        batching: BatchLimit | None = None,
    ) -> None:
        self._limits, self._observer = limits, observer
        self._threads = Compute(threads, batching)
        self.schedule = Schedule(self._threads, Admission(queue), observer)

    def close(self) -> None:
        """End the compute threads when their work is done."""
        self._threads.close()

    async def score(
        self,
        generation: Generation,
        messages: Sequence[scoring_pb2.FrameInput],
        paths: Sequence[str],
        options: ScoringOptions,
        terms: Terms,
    ) -> list[scoring_pb2.FrameResult]:
        """Return one result per frame, all of this generation; wrong frames are answered in band.

        paths: where each frame stands in the request, for its errors. Raises what Schedule.run raises.
        """
        parts = [
            self._part(generation, messages[part], paths[part], options)
            for part in _parts(messages, crops_per_part(options, generation.members))
        ]
        return [result for results in await self.run(parts, options, terms) for result in results]

    async def run(self, parts: Sequence[Part[tuple[Result, Work]]], options: ScoringOptions, terms: Terms) -> list[Result]:
        """Return what each part gives in the compute thread, admitted as all other work; raises what Schedule.run raises."""
        done = await self.schedule.run(parts, terms)
        self._observer.work(options, sum((work for _, work in done), Work()))
        return [result for result, _ in done]

    def _part(
        self,
        generation: Generation,
        messages: Sequence[scoring_pb2.FrameInput],
        paths: Sequence[str],
        options: ScoringOptions,
    ) -> Part[tuple[list[scoring_pb2.FrameResult], Work]]:
        load = load_of(messages, options, generation.members, self._limits)
        frames = FramesScored(self._limits, messages, paths, generation, options)
        return Part(scored_together("frames", generation, options, frames, load.crops), load, lambda done: not done[1].refused)


class FramesScored:
    """Some frames of a request: parse, rasterise, answer."""

    def __init__(
        self,
        limits: wire_frames.Limits,
        messages: Sequence[scoring_pb2.FrameInput],
        paths: Sequence[str],
        generation: Generation,
        options: ScoringOptions,
    ) -> None:
        self._limits, self._messages, self._paths = limits, messages, paths
        self._generation, self._options = generation, options
        self._parsed: list[Ready | QuandaryError] = []

    def rasters(self) -> Rasters | None:
        """Return the crops of the frames that can be scored; what is wrong with a frame is kept for its answer."""
        self._parsed = [self._prepare(message, path) for message, path in zip(self._messages, self._paths, strict=True)]
        rasters = [ready.rasters for ready in self._parsed if isinstance(ready, Ready) and len(ready.rasters)]
        return Rasters.joined(rasters) if rasters else None

    def answer(self, scores: ObjectScores | None) -> tuple[list[scoring_pb2.FrameResult], Work]:
        """Return a result per frame."""
        results = _answer(self._messages, self._parsed, scores, self._generation, self._options)
        refused = sum(result.HasField("error") for result in results)
        work = Work(
            crops=len(scores) if scores else 0,
            escalated=scores.escalated_count if scores else 0,
            scored=len(results) - refused,
            refused=refused,
        )
        return results, work

    def _prepare(self, message: scoring_pb2.FrameInput, path: str) -> Ready | QuandaryError:
        """Parse and rasterise one frame; what is wrong with it comes back as a value."""
        generation, options = self._generation, self._options
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


def scored_together(
    source: Hashable,
    generation: Generation,
    options: ScoringOptions,
    request: Scorable[Result],
    crops: int,
    *,
    jackknife: bool = True,
) -> Together[Scorable[Result], tuple[Result, Work]]:
    """Return the scoring of a request's crops, which others of the same source, generation and options may be scored with.

    crops: as many as are drawn, jittered ones among them.
    """
    return Together(
        kind=(source, generation.id, options, jackknife),
        asked=request,
        crops=crops,
        most=MAX_DRAWS // sample_count(options, generation.members),
        compute=partial(score_jointly, generation, options, jackknife=jackknife),
    )


def crops_per_part(options: ScoringOptions, members: int) -> int:
    """Return how many crops are scored in one go: what others wait for, and what is in memory at a time."""
    drawn = min(CROPS_PER_RUN, MAX_DRAWS // sample_count(options, members))
    return max(drawn // (1 + options.jittered_proposals), 1)


def _parts(messages: Sequence[scoring_pb2.FrameInput], crops: int) -> Iterator[slice]:
    """Yield slices of whole frames of at most so many crops together, or of one frame."""
    start = held = 0
    for stop, message in enumerate(messages):
        more = len(message.proposals)
        if held and held + more > crops:
            yield slice(start, stop)
            start, held = stop, 0
        held += more
    yield slice(start, len(messages))


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
