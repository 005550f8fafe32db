"""From rasters to scored objects, by one estimator for all of them."""

import numpy as np
from numpy.typing import NDArray

from quandary.geometry import MAX_RANGE_M
from quandary.options import Acquisition, ScoringOptions
from quandary_server.frustum.anchor import MAX_OFFSET_M, Anchors
from quandary_server.frustum.raster import Rasters
from quandary_server.inference.generation import Draws, Generation
from quandary_server.inference.localise import Localised
from quandary_server.inference.object_scores import ObjectScores
from quandary_server.uncertainty.entropy import entropy, margin
from quandary_server.uncertainty.summary import Summary, summarise

Array = NDArray[np.float64]


def estimate(generation: Generation, rasters: Rasters, options: ScoringOptions, jackknife: bool) -> ObjectScores:
    """Return the scores of D >= 1 rasters; without the jackknife `score_without` is None.

    A lone crop is drawn twice and cut off again, since NumPy sums a lone column in another order. Raises ValueError for
    ESCALATE, and where the acquisition function needs views or jitter that the rasters lack.
    """
    if len(rasters) == 1:
        return estimate(generation, rasters.take(np.zeros(2, np.intp)), options, jackknife).take(slice(0, 1))
    draws = _drawn(generation, rasters, options)
    with np.errstate(invalid="ignore", over="ignore", divide="ignore"):
        summary, jittered = summarise(draws.samples), None
        usable = usable_objects(summary) & in_range(summary.box, rasters.anchors)
        if rasters.jittered is not None:
            jittered = summarise(_drawn(generation, rasters.jittered, options).samples)
            sound = usable_objects(jittered) & in_range(jittered.box, rasters.jittered.anchors)
            usable &= sound.reshape(len(rasters), -1).all(axis=1)
        localised = Localised(rasters, summary, jittered)
        return _scored(generation, localised, options, draws.embedding, usable, jackknife)


def usable_objects(summary: Summary) -> NDArray[np.bool_]:
    """Return which objects (D,) have finite values in all their samples, and boxes within 500 m of their anchors."""
    offsets, variances = np.abs(summary.drawn.box), summary.variances
    # what is not finite stays so in a mean
    usable = np.isfinite(summary.mean_probs).all(axis=-1) & np.isfinite(summary.aleatoric).all(axis=-1)
    # mostly all are sound, which is told at once; NaN fails every comparison
    if not (offsets.max() < MAX_OFFSET_M and variances.min() > 0):
        usable &= (offsets < MAX_OFFSET_M).all(axis=(0, 2)) & (variances > 0).all(axis=(0, 2))
    return np.asarray(usable)


def in_range(mean_box: Array, anchors: Anchors) -> NDArray[np.bool_]:
    """Return which objects (D,) have their mean box (D, 10) within the 1000 m that a box may be away from the sensor."""
    offset = mean_box[:, :3]
    reach = np.hypot(offset[:, 0], offset[:, 1])
    level = np.abs(anchors.centre[:, :2]).max(axis=1) + reach
    return np.asarray(np.maximum(level, np.abs(anchors.centre[:, 2] + offset[:, 2])) <= MAX_RANGE_M)


def _drawn(generation: Generation, rasters: Rasters, options: ScoringOptions) -> Draws:
    return generation.draw(rasters, options.estimator, options.mc_samples, generation.seed(options.seed))


def _scored(
    generation: Generation,
    localised: Localised,
    options: ScoringOptions,
    embedding: NDArray[np.float32],
    usable: NDArray[np.bool_],
    jackknife: bool,
) -> ObjectScores:
    rasters, summary, acquisition = localised.rasters, localised.summary, options.effective_acquisition
    scales = generation.epistemic_scales
    asked = options.jittered_proposals > 0 or acquisition is Acquisition.TIGHTNESS
    return ObjectScores(
        score=localised.scores(acquisition, scales),
        score_without=localised.scores_without(acquisition, scales) if jackknife else None,
        mean_probs=summary.mean_probs,
        predictive_entropy=entropy(summary.mean_probs),
        expected_entropy=summary.expected_entropy,
        variation_ratio=1.0 - summary.votes.max(axis=-1),
        margin=margin(summary.mean_probs),
        box=summary.box,
        aleatoric=summary.aleatoric * generation.variance_scales,
        epistemic=summary.epistemic * generation.variance_scales,
        embedding=embedding,
        points=rasters.points,
        anchors=rasters.anchors,
        usable=usable,
        samples=np.full(len(rasters), summary.samples),
        tightness=localised.tightness if asked else None,
        stability=localised.stability,
    )
