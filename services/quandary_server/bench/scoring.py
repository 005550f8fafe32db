"""quandary bench scoring: CPU per crop of each estimator, inference and reduction, one thread; ratios of one run."""

import statistics
from collections.abc import Callable

import numpy as np

from quandary.options import Estimator, ScoringOptions
from quandary_server.bench.cascade import cascade_trades
from quandary_server.bench.figures import Figure, at_most, reported
from quandary_server.bench.measure import BASE, Spent, cpu_per_crop, over_base
from quandary_server.bench.trained import Told, TrainedScene, trained_scene
from quandary_server.evaluation.ranking import top_overlap
from quandary_server.frustum.raster import Rasters
from quandary_server.inference.generation import EVERY_MEMBER, WITH_DROPOUT, LoadedGeneration
from quandary_server.inference.scores import score_rasters

CROPS, BATCHES = 16, 12
FULL = ScoringOptions(Estimator.ENSEMBLE_MC_DROPOUT, mc_samples=20)

ESTIMATORS = {BASE: Estimator.SOFTMAX, "mc20": Estimator.MC_DROPOUT, "full": FULL.estimator, "cascade": Estimator.ESCALATE}
BARS = {"mc20": 1.10, "full": 5.2, "cascade": 2.0}
INFERENCE = "inference of "


def scoring_figures(told: Told = lambda *_: None) -> list[Figure]:
    """Return the CPU per crop of SOFTMAX, that of the other estimators over it, and what the cascade keeps of the ranking."""
    scene = trained_scene(told)
    rasters, rng = scene.evaluation.rasters, np.random.default_rng(0)
    batches = [rasters.take(rng.choice(len(rasters), CROPS, replace=False)) for _ in range(BATCHES)]
    generation = scene.generation
    runs = {name: _scoring(generation, ScoringOptions(e, mc_samples=FULL.mc_samples)) for name, e in ESTIMATORS.items()}
    runs |= {INFERENCE + name: _inference(generation, ESTIMATORS[name]) for name in (BASE, "mc20", "full")}
    spent = cpu_per_crop(runs, batches)
    return [
        at_most("softmax_ms", statistics.median(spent[BASE]), "ms of CPU per crop", 0.20, spent[BASE]),
        *(figure for name in BARS for figure in _figures(name, spent)),
        *_ranking(scene),
        reported("cascade_trades", len(trades := cascade_trades(scene, FULL, batches)), "cascades", trades),
    ]


def _figures(name: str, spent: Spent) -> list[Figure]:
    """Return CPU per crop, the ratio to SOFTMAX, and what that would be if reducing many samples cost as little as one."""
    ratios = over_base(spent, name)
    figures = [
        at_most(f"{name}_over_softmax", statistics.median(ratios), "ratio", BARS[name], ratios),
        reported(f"{name}_ms", statistics.median(spent[name]), "ms of CPU per crop", spent[name]),
    ]
    if INFERENCE + name in spent:
        columns = zip(spent[BASE], spent[INFERENCE + BASE], spent[INFERENCE + name], strict=True)
        floors = [1 + (inference - least) / softmax for softmax, least, inference in columns]
        what = "ratio, were the reduction of its samples free"
        figures.append(reported(f"{name}_over_softmax_floor", statistics.median(floors), what, floors))
    return figures


def _ranking(scene: TrainedScene) -> list[Figure]:
    """Return what share of unseen crops the cascade sends on, and what it and another seed keep of the full top decile."""
    cascade, again, full = (
        score_rasters(scene.generation, scene.evaluation.rasters, options, jackknife=False)
        for options in (
            ScoringOptions(Estimator.ESCALATE, mc_samples=FULL.mc_samples),
            ScoringOptions(FULL.estimator, mc_samples=FULL.mc_samples, seed=1),
            FULL,
        )
    )
    share = 1.0 if cascade.escalated is None else float(cascade.escalated.mean())
    kept = "share of the full top decile"
    return [
        reported("cascade_escalated_share", share, "share of the crops"),
        reported("cascade_top_decile", top_overlap(cascade.score, full.score), kept),
        reported("another_seed_top_decile", top_overlap(again.score, full.score), kept),
    ]


def _scoring(generation: LoadedGeneration, options: ScoringOptions) -> Callable[[Rasters], object]:
    return lambda rasters: score_rasters(generation, rasters, options)


def _inference(generation: LoadedGeneration, estimator: Estimator) -> Callable[[Rasters], object]:
    seed, masks = generation.seed(None), FULL.mc_samples if estimator in WITH_DROPOUT else None
    draw = generation.draw_members if estimator in EVERY_MEMBER else generation.draw_first
    return lambda rasters: draw(rasters, masks, seed)
