"""What a request for one frame of client-made crops costs in the compute thread, step by step."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from quandary.convert import frame_message
from quandary.frames import Frame
from quandary.options import ScoringOptions
from quandary.v1 import scoring_pb2
from quandary_server.frustum.raster import Rasters, rasterise
from quandary_server.inference.generation import EVERY_MEMBER, WITH_DROPOUT, Generation, sample_count
from quandary_server.inference.scores import score_rasters
from quandary_server.wire import frames as wire_frames
from quandary_server.wire.frames import Limits
from quandary_server.wire.scores import frame_score

INFERENCE, SCORING = "inference", "scoring"


@dataclass(frozen=True)
class Request:
    """A frame of client-made crops as it comes, and as it is computed with."""

    generation: Generation
    options: ScoringOptions
    limits: Limits
    data: bytes
    message: scoring_pb2.FrameInput
    frame: Frame
    rasters: Rasters

    @staticmethod
    def of(frame: Frame, generation: Generation, options: ScoringOptions, limits: Limits) -> "Request":
        """Return the request for a frame."""
        message = frame_message(frame)
        return Request(generation, options, limits, message.SerializeToString(), message, frame, _rasterised(frame, generation))

    def steps(self) -> dict[str, Callable[[], object]]:
        """Return what is done for a request, by name: decode to encode in their order, and all of scoring in one.

        inference: the sessions alone. reduction is what scoring takes beyond it.
        """
        generation, options = self.generation, self.options
        seed, masks = generation.seed(None), options.mc_samples if options.estimator in WITH_DROPOUT else None
        draw = generation.draw_members if options.estimator in EVERY_MEMBER else generation.draw_first
        scores, part = score_rasters(generation, self.rasters, options), slice(0, len(self.rasters))
        samples, classes = sample_count(options, generation.members), generation.manifest.classes
        answer = frame_score(self.frame, scores, part, options, classes, samples, seed)
        return {
            "decode": lambda: scoring_pb2.FrameInput.FromString(self.data),
            "parse": lambda: wire_frames.frame(self.message, self.limits).cropped(),
            "rasterise": lambda: _rasterised(self.frame, generation),
            INFERENCE: lambda: draw(self.rasters, masks, seed),
            SCORING: lambda: score_rasters(generation, self.rasters, options),
            "answer": lambda: frame_score(self.frame, scores, part, options, classes, samples, seed),
            "encode": answer.SerializeToString,
        }


def step_times(request: Request, seconds: float, clock: Callable[[], float] = time.thread_time) -> dict[str, float]:
    """Return the milliseconds of this thread's CPU that each step takes: rounds of all for some seconds, at least one."""
    steps, spent, rounds = request.steps(), dict.fromkeys(request.steps(), 0.0), 0
    for run in steps.values():
        run()
    until = clock() + seconds
    while not rounds or clock() < until:
        for name, run in steps.items():
            started = clock()
            run()
            spent[name] += clock() - started
        rounds += 1
    return {name: taken / rounds * 1e3 for name, taken in spent.items()}


def crops_per_second(request: Request, seconds: float, clock: Callable[[], float] = time.thread_time) -> float:
    """Return how many crops a second of this thread's CPU the sessions alone get through, in at least one run.

    On a core of its own that is a second. Where others take part of the core, it is what could have been.
    """
    run, runs, crops = request.steps()[INFERENCE], 0, len(request.rasters)
    started = clock()
    while not runs or clock() - started < seconds:
        run()
        runs += 1
    return runs * crops / (clock() - started)


def _rasterised(frame: Frame, generation: Generation) -> Rasters:
    boxes = [proposal.box for proposal in frame.proposals]
    return rasterise(frame.crops or [], frame.calibration, boxes, generation.manifest.net.side)
