"""CPU per crop of each estimator, inference and reduction, one thread; ratios of one run."""

from collections.abc import Sequence

import numpy as np

from quandary.options import Estimator, ScoringOptions
from quandary_server.bench.figures import Figure, reported
from quandary_server.bench.progress import Told
from quandary_server.bench.scoring.bars import BARS, held, median
from quandary_server.bench.scoring.cascade import cascade_trades
from quandary_server.bench.scoring.measure import BASE, ROUNDS, Spent, cpu_per_crop, over_base
from quandary_server.bench.scoring.runs import ESTIMATORS, FULL, inference, scoring
from quandary_server.bench.scoring.shares import profile_figures
from quandary_server.bench.scoring.trained import TrainedScene, trained_scenes
from quandary_server.bench.scoring.untrained import untrained_generation
from quandary_server.detector.settings import NetSettings
from quandary_server.evaluation.ranking import top_overlap
from quandary_server.frustum.raster import Rasters
from quandary_server.inference.generation import LoadedGeneration
from quandary_server.inference.scores import score_rasters

CROPS, BATCHES = 16, 12
RATIOS = ("mc20", "full", "cascade")
INFERENCE = "inference of "
CPU = BARS["softmax_ms"].unit

PLANNED = NetSettings(side=48)
"""The maps that were planned when the bars were set."""

TRIAL = NetSettings(side=48, channels=(32, 64, 128))
"""What takes about as long as the net of the trials that the bars were set by, 0.13 ms a crop; never fitted: costs alone."""


def estimator_figures(told: Told) -> list[Figure]:
    """Return CPU per crop and ratios of the net that is served, those of the net that was planned, and the cascade's trades."""
    served, planned = trained_scenes(told, (NetSettings(), PLANNED))
    told("estimators", 0, 5)
    batches = batches_of(served)
    figures = [*_costs(spent_by_estimators(served.generation, batches)), *_ranking(served)]
    told("estimators at 48 cells", 1, 5)
    at_48 = batches_of(planned)
    figures += _costs_of_another(spent_by_estimators(planned.generation, at_48), RATIOS, "_at_48") + _ranking(planned, "_at_48")
    told("estimators of a costly net", 2, 5)
    costly = untrained_generation(TRIAL, len(planned.artefacts.members))
    figures += _costs_of_another(spent_by_estimators(costly, at_48, rounds=5), RATIOS[:2], "_at_130_us")
    told("where time goes", 3, 5)
    figures += profile_figures(served.generation, served.artefacts.members, batches)
    told("cascades", 4, 5)
    trades = cascade_trades(served, FULL, batches)
    return [*figures, reported("cascade_trades", len(trades), "cascades", trades)]


def batches_of(scene: TrainedScene) -> list[Rasters]:
    """Return batches of crops that the scene's generation never saw."""
    rasters, rng = scene.evaluation.rasters, np.random.default_rng(0)
    return [rasters.take(rng.choice(len(rasters), CROPS, replace=False)) for _ in range(BATCHES)]


def spent_by_estimators(generation: LoadedGeneration, batches: Sequence[Rasters], rounds: int = ROUNDS) -> Spent:
    """Return the CPU per crop of each estimator, and of its inference alone, rounds interleaved."""
    runs = {name: scoring(generation, estimator) for name, estimator in ESTIMATORS.items()}
    runs |= {INFERENCE + name: inference(generation, ESTIMATORS[name]) for name in (BASE, "mc20", "full")}
    return cpu_per_crop(runs, batches, rounds)


def floors(spent: Spent, name: str) -> list[float]:
    """Return the ratios to SOFTMAX, were reducing many samples as cheap as reducing one."""
    columns = zip(spent[BASE], spent[INFERENCE + BASE], spent[INFERENCE + name], strict=True)
    return [1 + (inference - least) / softmax for softmax, least, inference in columns]


def _costs(spent: Spent) -> list[Figure]:
    figures = [held("softmax_ms", spent[BASE])]
    for name in RATIOS:
        figures += [held(f"{name}_over_softmax", over_base(spent, name)), median(f"{name}_ms", spent[name], CPU)]
        figures += _floor(spent, name, "")
    return figures


def _costs_of_another(spent: Spent, names: Sequence[str], suffix: str) -> list[Figure]:
    """Return the ratios of another net, which no bar holds."""
    figures = [median(f"softmax_ms{suffix}", spent[BASE], CPU)]
    for name in names:
        figures += [median(f"{name}_over_softmax{suffix}", over_base(spent, name), "ratio"), *_floor(spent, name, suffix)]
    return figures


def _floor(spent: Spent, name: str, suffix: str) -> list[Figure]:
    if INFERENCE + name not in spent:
        return []
    return [median(f"{name}_over_softmax_floor{suffix}", floors(spent, name), "ratio, were the reduction of its samples free")]


def _ranking(scene: TrainedScene, suffix: str = "") -> list[Figure]:
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
    kept, kept_again = top_overlap(cascade.score, full.score), top_overlap(again.score, full.score)
    unit = BARS["cascade_top_decile"].unit
    return [
        held("cascade_top_decile", [kept]) if not suffix else reported(f"cascade_top_decile{suffix}", kept, unit),
        reported(f"cascade_escalated_share{suffix}", share, "share of the crops"),
        reported(f"another_seed_top_decile{suffix}", kept_again, unit),
    ]
