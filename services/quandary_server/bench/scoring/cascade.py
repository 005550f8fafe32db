"""What a cascade costs, and what it keeps of the full ranking, by its first pass and the share that it sends on."""

import statistics
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace

import numpy as np
from numpy.typing import NDArray

from quandary.options import Estimator, ScoringOptions
from quandary_server.bench.scoring.measure import BASE, cpu_per_crop, over_base
from quandary_server.bench.scoring.trained import TrainedScene
from quandary_server.evaluation.ranking import top_overlap
from quandary_server.frustum.raster import Rasters
from quandary_server.inference.generation import LoadedGeneration
from quandary_server.inference.scores import score_rasters

Array = NDArray[np.float64]

FIRST_PASSES = ((1, 5), (1, 20), (2, 2), (3, 2), (5, 2), (5, 5))
"""Members, and masks of each."""

SHARES = (0.0, 0.1, 0.2, 0.3, 0.5)
"""0: the first pass alone."""

ROUNDS = 7


@dataclass(frozen=True)
class Trade:
    """One cascade: its first pass, the share asked for and found, CPU over SOFTMAX, top decile kept by objects and frames."""

    members: int
    masks: int
    share: float
    escalated: float
    over_softmax: float
    top_decile_objects: float
    top_decile_frames: float


def cascade_trades(scene: TrainedScene, full: ScoringOptions, batches: list[Rasters]) -> list[dict[str, float]]:
    """Return the trades of all first passes and shares; thresholds from the control crops, judged on the evaluation crops."""
    cascades = [_Cascade(scene, full, *first, share) for first in FIRST_PASSES for share in SHARES]
    softmax = ScoringOptions(Estimator.SOFTMAX)
    runs: dict[str, Callable[[Rasters], object]] = {BASE: lambda rasters: score_rasters(scene.generation, rasters, softmax)}
    spent = cpu_per_crop(runs | {cascade.name: cascade.run for cascade in cascades}, batches, ROUNDS)
    evaluation = scene.evaluation
    wanted = score_rasters(scene.generation, evaluation.rasters, full, jackknife=False).score
    return [asdict(cascade.trade(wanted, statistics.median(over_base(spent, cascade.name)))) for cascade in cascades]


class _Cascade:
    """A first pass by the first members, and the full estimator for those above a threshold."""

    def __init__(self, scene: TrainedScene, full: ScoringOptions, members: int, masks: int, share: float) -> None:
        self.name = f"{members} x {masks}, {share:g}"
        self._scene, self._full, self._first = scene, full, replace(full, mc_samples=masks)
        self._members, self._masks, self._share = members, masks, share
        self._few: LoadedGeneration = scene.first_members(members)
        control = score_rasters(self._few, scene.control.rasters, self._first, jackknife=False).score
        self._threshold = float(np.quantile(control, 1 - share)) if share else np.inf

    def run(self, rasters: Rasters) -> None:
        """Score a batch, and put nothing together."""
        near = np.flatnonzero(score_rasters(self._few, rasters, self._first).score >= self._threshold)
        if len(near):
            score_rasters(self._scene.generation, rasters.take(near), self._full)

    def trade(self, wanted: Array, over_softmax: float) -> Trade:
        """Return what was found, against the full scores (N,) of the evaluation crops."""
        crops = self._scene.evaluation
        first = score_rasters(self._few, crops.rasters, self._first, jackknife=False).score
        escalated = first >= self._threshold
        mixed = np.where(escalated, wanted, first)
        _, frame = np.unique(crops.frames, return_inverse=True)
        mixed_frames, wanted_frames = (np.bincount(frame, scores) / np.bincount(frame) for scores in (mixed, wanted))
        return Trade(
            self._members,
            self._masks,
            self._share,
            float(escalated.mean()),
            over_softmax,
            top_overlap(mixed, wanted),
            top_overlap(mixed_frames, wanted_frames),
        )
