"""From rasters to scored objects."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from quandary.geometry import MAX_RANGE_M, Box3D
from quandary.options import ScoringOptions
from quandary_server.frustum.anchor import MAX_OFFSET_M, Anchors, decode_boxes
from quandary_server.frustum.raster import Rasters
from quandary_server.inference.generation import Generation
from quandary_server.uncertainty.acquisition import acquire, scores_without
from quandary_server.uncertainty.entropy import entropy, margin
from quandary_server.uncertainty.samples import Samples, mean_box, summarise

Array = NDArray[np.float64]


@dataclass(frozen=True)
class ObjectScores:
    """D scored objects; `usable` (D,) marks those with a sound answer.

    score_without (T, D): the scores without each sample, None for fewer than 3 samples or if not asked for. score,
    predictive_entropy, expected_entropy, variation_ratio, margin: (D,); mean_probs (D, C); box (D, 10) regressed values;
    aleatoric, epistemic (D, 7); embedding (D, E); points (D,).
    """

    score: Array
    score_without: Array | None
    mean_probs: Array
    predictive_entropy: Array
    expected_entropy: Array
    variation_ratio: Array
    margin: Array
    box: Array
    aleatoric: Array
    epistemic: Array
    embedding: NDArray[np.float32]
    points: NDArray[np.int64]
    anchors: Anchors
    usable: NDArray[np.bool_]
    samples: int
    seed: int

    def __len__(self) -> int:
        return len(self.points)

    @property
    def mutual_information(self) -> Array:
        """Predictive less expected entropy (D,), in nats."""
        return np.maximum(self.predictive_entropy - self.expected_entropy, 0.0)

    def boxes(self, part: slice = slice(None)) -> list[Box3D]:
        """Return the mean boxes of a part, which must be `usable`, in the LiDAR frame."""
        return decode_boxes(self.box[part], Anchors(self.anchors.centre[part], self.anchors.bearing[part]))


def score_rasters(generation: Generation, rasters: Rasters, options: ScoringOptions, *, jackknife: bool = True) -> ObjectScores:
    """Return the scores of D >= 1 rasters by a generation; without the jackknife `score_without` is None.

    The same rasters give the same bytes in whatever company: a lone crop is drawn twice and cut off again, since NumPy sums
    a lone column in another order. Raises ValueError for an estimator or acquisition function that is not served.
    """
    count = len(rasters)
    if count == 1:
        rasters = Rasters.joined([rasters, rasters])
    seed = generation.seed(options.seed)
    draws = generation.draw(rasters, options.estimator, options.mc_samples, seed)
    with np.errstate(invalid="ignore", over="ignore"):
        usable = usable_objects(draws.samples) & in_range(draws.samples, rasters.anchors)
        return _scored(generation, rasters, options, draws.samples, draws.embedding, usable, seed, count, jackknife)


def usable_objects(samples: Samples) -> NDArray[np.bool_]:
    """Return which objects (D,) have finite values in all their samples, and boxes within 500 m of their anchors."""
    values = (samples.probs, samples.box, samples.box_log_variance)
    finite = np.all([np.isfinite(value).all(axis=(0, 2)) for value in values], axis=0)
    near = np.all(np.abs(samples.box) < MAX_OFFSET_M, axis=(0, 2))
    return np.asarray(near & finite)


def in_range(samples: Samples, anchors: Anchors) -> NDArray[np.bool_]:
    """Return which objects (D,) have their mean box within the 1000 m that a box may be away from the sensor."""
    offset = mean_box(samples.box)[:, :3]
    reach = np.hypot(offset[:, 0], offset[:, 1])
    level = np.abs(anchors.centre[:, :2]).max(axis=1) + reach
    return np.asarray(np.maximum(level, np.abs(anchors.centre[:, 2] + offset[:, 2])) <= MAX_RANGE_M)


def _scored(
    generation: Generation,
    rasters: Rasters,
    options: ScoringOptions,
    samples: Samples,
    embedding: NDArray[np.float32],
    usable: NDArray[np.bool_],
    seed: int,
    count: int,
    jackknife: bool,
) -> ObjectScores:
    scales = np.array(generation.manifest.box_scales)
    summary = summarise(samples)
    scores = acquire(options.effective_acquisition, summary, scales)
    without = scores_without(options.effective_acquisition, samples, scales) if jackknife else None
    return ObjectScores(
        score=scores[:count],
        score_without=None if without is None else without[:, :count],
        mean_probs=summary.mean_probs[:count],
        predictive_entropy=entropy(summary.mean_probs)[:count],
        expected_entropy=summary.expected_entropy[:count],
        variation_ratio=1.0 - summary.votes.max(axis=-1)[:count],
        margin=margin(summary.mean_probs)[:count],
        box=mean_box(samples.box)[:count],
        aleatoric=summary.aleatoric[:count],
        epistemic=summary.epistemic[:count],
        embedding=embedding[:count],
        points=rasters.points[:count],
        anchors=Anchors(rasters.anchors.centre[:count], rasters.anchors.bearing[:count]),
        usable=usable[:count],
        samples=samples.count,
        seed=seed,
    )
