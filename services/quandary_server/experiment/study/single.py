"""A single member, fitted and ready to answer, with what that took."""

import statistics
import time
from dataclasses import dataclass

import numpy as np

from quandary.options import Estimator
from quandary_server.clock import now
from quandary_server.detector.examples import Examples
from quandary_server.detector.export import export_onnx
from quandary_server.detector.fitting import fit_member
from quandary_server.detector.settings import FitSettings, NetSettings
from quandary_server.inference.generation import LoadedGeneration
from quandary_server.trainer.candidate import draft_candidate
from quandary_server.trainer.members import Member

WARM_UP_STEPS = 3

BATCH = 16
ROUNDS, REPEATS = 15, 10


@dataclass(frozen=True)
class Single:
    """A generation of one member, and the CPU that a training step took, in milliseconds."""

    generation: LoadedGeneration
    step_ms: float


def fitted_single(examples: Examples, net: NetSettings, fit: FitSettings, seed: int) -> Single:
    """Return one member fitted to the examples and exported; all draws follow from the seed."""
    masks, member = np.random.SeedSequence(seed).generate_state(2).tolist()

    # a process's first steps set torch up
    fit_member(examples, net, fit.model_copy(update={"steps": WARM_UP_STEPS}), member)
    started = time.process_time()
    fitted = fit_member(examples, net, fit, member)
    step_ms = (time.process_time() - started) / fit.steps * 1e3

    model, parity = export_onnx(fitted)
    candidate = draft_candidate(
        [Member(model, parity, float("nan"))],
        net,
        examples,
        seed=masks,
        now=now(),
        parent="",
        run="",
        snapshot_digest="",
        settings={},
    )
    return Single(candidate.load(), step_ms)


def inference_ms(generation: LoadedGeneration, examples: Examples) -> float:
    """Return the CPU of one pass over batches of 16 of the examples, in milliseconds per crop: the median of 15 rounds."""
    batch = examples.take(np.arange(BATCH) % len(examples))
    rasters = batch.rasters
    spent = []
    for _ in range(ROUNDS):
        started = time.process_time()
        for _ in range(REPEATS):
            generation.draw(rasters, Estimator.SOFTMAX, 1, generation.seed(None))
        spent.append((time.process_time() - started) / REPEATS / BATCH * 1e3)
    return statistics.median(spent)
