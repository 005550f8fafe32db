"""The detector's study: every variant trained alike, on simulated and on real crops, judged on control drives."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import ray

from quandary.errors import InvalidArgument
from quandary.options import Estimator, ScoringOptions
from quandary_server.detector.assessment import BACKGROUND_INDEX, assess
from quandary_server.detector.examples import Examples
from quandary_server.experiment.pools.build import Told, built_pool
from quandary_server.experiment.pools.crops import Pool
from quandary_server.experiment.replay.figures import MIN_CROPS_OF_CLASS, judged_classes, round_figures
from quandary_server.experiment.settings import PoolSettings
from quandary_server.experiment.study.single import fitted_single, inference_ms
from quandary_server.experiment.study.sources import POOL_SEED, WIDE_FLEET, real_pool, simulated_pool
from quandary_server.experiment.study.variants import Variant, all_variants
from quandary_server.experiment.window import Progress, gathered
from quandary_server.simulator.settings import FleetSettings

SIMULATED, KITTI = "simulated", "kitti"

MEASURES = ("macro_recall", "accuracy", "nll", "mean_iou", "median_centre_error")
COSTS = ("step_ms", "crop_ms")

SAMPLE = 1
"""Which crops are trained on is drawn from a stream of its own: the same for all variants of a seed."""


@dataclass(frozen=True)
class StudySettings:
    """What to study: seeds, real frames (None: simulated ones only), variants, crops to train on, dropout masks, the fleet."""

    seeds: int = 2
    kitti: Path | None = None
    variants: Sequence[Variant] = field(default_factory=all_variants)
    crops: int = 2500
    mc_samples: int = 10
    fleet: FleetSettings = WIDE_FLEET

    @property
    def sources(self) -> dict[str, PoolSettings]:
        """The pools by their names."""
        found = {SIMULATED: simulated_pool(self.fleet)}
        return found if self.kitti is None else {**found, KITTI: real_pool(self.kitti)}


@dataclass(frozen=True)
class Trial:
    """One variant trained with one seed on one source: what came of it, by MEASURES and COSTS."""

    source: str
    variant: str
    seed: int
    found: Mapping[str, float]


def studied(settings: StudySettings, folder: Path, told: Told, progress: Progress) -> list[Trial]:
    """Return the trials of all variants, seeds and sources, run on Ray, which must have been joined.

    Pools are kept in the folder. Raises InvalidArgument where the control drives show no class of objects often enough, and
    what a training raises.
    """
    sides = sorted({variant.net.side for variant in settings.variants})
    pools = {
        (source, side): ray.put(_checked(built_pool(asked, side, POOL_SEED, folder, told)))
        for source, asked in settings.sources.items()
        for side in sides
    }
    tasks = [
        (
            f"{source}: {variant.name}, seed {seed}",
            _trial_task.remote(source, variant, seed, pools[source, variant.net.side], settings.crops, settings.mc_samples),
        )
        for variant in settings.variants
        for source in settings.sources
        for seed in range(settings.seeds)
    ]
    return gathered(tasks, progress)


def tried(variant: Variant, pool: Pool, crops: int, seed: int, mc_samples: int) -> dict[str, float]:
    """Return what came of one variant, trained on as many crops of the pool and judged on the evaluation by MC-dropout."""
    training = sampled(pool.pool.examples, crops, seed)
    held_out = pool.evaluation.examples
    single = fitted_single(training, variant.net, variant.fit, seed)
    options = ScoringOptions(Estimator.MC_DROPOUT, mc_samples=mc_samples)
    figures = round_figures(assess(single.generation, held_out, options), fair_classes(pool))
    cost = {"step_ms": single.step_ms, "crop_ms": inference_ms(single.generation, held_out)}
    return {name: figures[name] for name in MEASURES} | cost


def sampled(examples: Examples, crops: int, seed: int) -> Examples:
    """Return so many of the examples, or all where there are no more, drawn by the seed."""
    order = np.random.default_rng([seed, SAMPLE]).permutation(len(examples))
    return examples.take(order[:crops])


def fair_classes(pool: Pool) -> list[int]:
    """Return the classes that the macro recall is over: often enough in the evaluation, and not missing from the pool."""
    return judged_classes(pool.evaluation.examples, pool.pool.examples)


def _checked(pool: Pool) -> Pool:
    judged = [index for index in fair_classes(pool) if index != BACKGROUND_INDEX]
    if not judged:
        raise InvalidArgument.of(
            "control drives",
            f"{len(pool.evaluation)} crops",
            f"at least {MIN_CROPS_OF_CLASS} of a class of objects in the pool",
        )
    return pool


@ray.remote(num_cpus=1, max_retries=2)
def _trial_task(source: str, variant: Variant, seed: int, pool: Pool, crops: int, mc_samples: int) -> Trial:
    return Trial(source, variant.name, seed, tried(variant, pool, crops, seed, mc_samples))
