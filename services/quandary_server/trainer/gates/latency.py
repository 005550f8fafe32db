"""What a crop costs: the candidate's CPU against the current generation's, in turns in one thread of this process."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from quandary.options import ScoringOptions
from quandary_server.evaluation.bootstrap import resampled_interval
from quandary_server.inference.generation import LoadedGeneration
from quandary_server.inference.scores import score_rasters
from quandary_server.inference.warm_up import blank
from quandary_server.registry.manifest import GateRecord
from quandary_server.trainer.gates.verdicts import NO_CURRENT, undetermined

GATE = "latency"
CROPS, ROUNDS = 16, 15
BOOTSTRAP_SEED = 0

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Costs:
    """CPU per crop in milliseconds of both, round by round (R,)."""

    candidate_ms: Array
    current_ms: Array


def measured_costs(
    candidate: LoadedGeneration,
    current: LoadedGeneration,
    options: ScoringOptions,
    clock: Callable[[], float] = time.thread_time,
) -> Costs:
    """Return what blank crops cost both; who begins changes from round to round. The first runs are not counted.

    Blank crops cost what others do: no step of the net depends on what is in them.
    """
    pair = (candidate, current)
    crops = [blank(CROPS, generation.manifest.net.side) for generation in pair]

    def spent(which: int) -> float:
        started = clock()
        score_rasters(pair[which], crops[which], options, jackknife=False)
        return (clock() - started) / CROPS * 1e3

    for which in (0, 1):
        spent(which)
    rounds = np.empty((ROUNDS, 2))
    for number in range(ROUNDS):
        for which in (0, 1) if number % 2 else (1, 0):
            rounds[number, which] = spent(which)
    return Costs(rounds[:, 0], rounds[:, 1])


def latency_gate(costs: Costs | None, most: float, members: tuple[int, int]) -> GateRecord:
    """Return the verdict on the ratio of the costs: refused where its 95 % interval over rounds lies wholly above `most`.

    costs: None without a current generation. members: of the candidate and of the current one.
    """
    if costs is None:
        return undetermined(GATE, NO_CURRENT)
    mine, theirs = costs.candidate_ms, costs.current_ms
    rounds = [str(number) for number in range(len(mine))]
    rng = np.random.default_rng(BOOTSTRAP_SEED)
    ratio = resampled_interval(lambda drawn: float(mine[drawn].mean() / theirs[drawn].mean()), rounds, rng)
    difference = resampled_interval(lambda drawn: float((mine - theirs)[drawn].mean()), rounds, rng)
    if ratio is None:
        return undetermined(GATE, "what a crop costs could not be measured")
    refused = ratio[0] > most
    told = f"a crop costs {mine.mean():.3f} ms of CPU against {theirs.mean():.3f}, by {members[0]} members against {members[1]}"
    bound = f"the ratio is within [{ratio[0]:.2f}, {ratio[1]:.2f}] (95 %), at most {most:g} is allowed"
    return GateRecord(
        gate=GATE,
        verdict="refused" if refused else "passed",
        candidate=float(mine.mean()),
        reference=float(theirs.mean()),
        difference=difference,
        floor=float(most * theirs.mean()),
        reason=f"{told}; {bound}",
    )
