"""Is the simulator like the real frames? Their looks side by side, and what the same net learns of each.

A net trained on real crops is judged on real drives it never saw, one trained on as many simulated crops of as few objects on
simulated drives it never saw: a simulator that is too easy or too hard gives itself away.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import ray
from numpy.typing import NDArray

from quandary.options import Estimator, ScoringOptions
from quandary_server.datasets.statistics import FolderStatistics
from quandary_server.detector.assessment import assess
from quandary_server.detector.examples import Examples
from quandary_server.detector.settings import FitSettings, NetSettings
from quandary_server.experiment.pools.build import Told, built_pool
from quandary_server.experiment.pools.crops import Pool
from quandary_server.experiment.settings import PoolSettings
from quandary_server.experiment.study.distinct import distinct_counts, distinct_objects, with_few_objects
from quandary_server.experiment.study.looks import Looks, looks, real_statistics, simulated_statistics
from quandary_server.experiment.study.single import fitted_single
from quandary_server.experiment.study.sources import POOL_SEED, WIDE_FLEET, narrow_fleet, real_pool, simulated_pool
from quandary_server.experiment.study.trials import sampled
from quandary_server.experiment.window import Progress, gathered
from quandary_server.simulator.settings import FleetSettings

REAL, SIMULATED, SIM_TO_REAL, WIDE_TO_REAL = "real", "simulated", "sim_to_real", "wide_to_real"
"""What a net was trained on and judged on: the same kind, or trained on a simulated fleet (narrow, wide) and judged on real."""


OBJECTS = 2
"""Which objects are kept is drawn from a stream of its own."""


@dataclass(frozen=True)
class MatchSettings:
    """What to match: the real frames, seeds, net and recipe, dropout masks, and the simulated fleets.

    narrow: the fleet of a seed, with repeats as real drives have them; nets are trained on as many of its objects as the real
    frames show of each class. wide: the fleet whose looks are compared, and whose control drives every simulated net is judged
    on beside those of its own fleet.
    """

    kitti: Path
    seeds: int = 3
    net: NetSettings = field(default_factory=NetSettings)
    fit: FitSettings = field(default_factory=FitSettings)
    mc_samples: int = 10
    narrow: Callable[[int], FleetSettings] = narrow_fleet
    wide: FleetSettings = WIDE_FLEET


@dataclass(frozen=True)
class Answers:
    """What one net answered on N held-out crops: classes and predicted (N,); frames (N,) ids, each with its drive's."""

    judged: str
    seed: int
    classes: NDArray[np.int64]
    predicted: NDArray[np.int64]
    frames: NDArray[np.str_]


@dataclass(frozen=True)
class Match:
    """What came of it: the crops each net was trained on and the objects of a class that they show at most, looks by REAL and
    SIMULATED, and all answers."""

    crops: int
    objects: Mapping[str, int]
    looks: Mapping[str, Looks]
    answers: Sequence[Answers]


def matched(settings: MatchSettings, folder: Path, told: Told, progress: Progress) -> Match:
    """Return how simulated and real frames compare, on Ray, which must have been joined; pools are kept in the folder."""

    def built(asked: PoolSettings) -> Pool:
        return built_pool(asked, settings.net.side, POOL_SEED, folder, told)

    real = built(_real(settings.kitti))
    wide = built(simulated_pool(settings.wide))
    objects = distinct_counts(real.pool, distinct_objects(real.pool))
    narrow = [_narrowed(built(simulated_pool(settings.narrow(seed))), objects, seed) for seed in range(settings.seeds)]
    crops = min(len(pool.pool) for pool in (real, wide, *narrow))

    counting = [
        ("labels of the real frames", _real_statistics_task.remote(settings.kitti)),
        ("labels of the simulator", _simulated_statistics_task.remote(settings.wide)),
    ]
    learning = list(_learning(settings, real, wide, narrow, crops))
    counted_real, counted_simulated, *answers = gathered(counting + learning, progress)
    return Match(crops, objects, _looks(real, wide, counted_real, counted_simulated), [one for many in answers for one in many])


def _real(folder: Path) -> PoolSettings:
    """All real drives that are not trained on judge: there are few."""
    return real_pool(folder).model_copy(update={"evaluation": ("control", "evaluation")})


def _narrowed(pool: Pool, objects: Mapping[str, int], seed: int) -> Pool:
    """Return the pool with no more objects of a class than asked for."""
    kept = with_few_objects(pool.pool, distinct_objects(pool.pool), objects, np.random.default_rng([seed, OBJECTS]))
    return replace(pool, pool=pool.pool.take(kept))


def _learning(settings: MatchSettings, real: Pool, wide: Pool, narrow: Sequence[Pool], crops: int) -> Sequence[tuple[str, Any]]:
    """Start all trainings."""
    real_tests, tasks = {REAL: real.evaluation.examples}, []
    for seed, own in enumerate(narrow):
        unseen = Examples.joined([own.evaluation.examples, wide.evaluation.examples])
        plans = (
            ("real crops", real, real_tests),
            ("simulated crops", own, {SIMULATED: unseen, SIM_TO_REAL: real.evaluation.examples}),
            ("simulated crops of many drives", wide, {WIDE_TO_REAL: real.evaluation.examples}),
        )
        for name, pool, tests in plans:
            training = sampled(pool.pool.examples, crops, seed)
            tasks.append((f"{name}, seed {seed}", _answers_task.remote(settings, training, tests, seed)))
    return tasks


def _looks(real: Pool, wide: Pool, counted_real: FolderStatistics, counted_simulated: FolderStatistics) -> dict[str, Looks]:
    every_real = Examples.joined([real.pool.examples, real.evaluation.examples])
    return {REAL: looks(every_real, counted_real), SIMULATED: looks(wide.pool.examples, counted_simulated)}


def answered(settings: MatchSettings, training: Examples, tests: Mapping[str, Examples], seed: int) -> list[Answers]:
    """Return what one net, fitted to the training crops, answers on each of the tests."""
    generation = fitted_single(training, settings.net, settings.fit, seed).generation
    options = ScoringOptions(Estimator.MC_DROPOUT, mc_samples=settings.mc_samples)
    found = []
    for judged, examples in tests.items():
        assessment = assess(generation, examples, options)
        frames = np.char.add(np.char.add(examples.drives, "/"), examples.frames)
        found.append(Answers(judged, seed, examples.classes, assessment.predicted, frames))
    return found


@ray.remote(num_cpus=1, max_retries=2)
def _answers_task(settings: MatchSettings, training: Examples, tests: Mapping[str, Examples], seed: int) -> list[Answers]:
    return answered(settings, training, tests, seed)


@ray.remote(num_cpus=1, max_retries=2)
def _real_statistics_task(folder: Path) -> FolderStatistics:
    return real_statistics(folder)


@ray.remote(num_cpus=1, max_retries=2)
def _simulated_statistics_task(fleet: FleetSettings) -> FolderStatistics:
    return simulated_statistics(fleet)
