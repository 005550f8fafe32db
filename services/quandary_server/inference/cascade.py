"""A cascade (ESCALATE): a few masks of every member for all objects, all masks for those that may be among the top.

Which these are is told by each object's own first score against a threshold of the generation, found on its control crops: an
object's answer does not depend on its company. The first masks are a prefix of all: the first answer is to the bit that of
ENSEMBLE_MC_DROPOUT with few masks, the full one that with all of them.
"""

from dataclasses import fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quandary.options import Acquisition, Estimator, ScoringOptions
from quandary_server.frustum.raster import Rasters
from quandary_server.inference.estimate import estimate
from quandary_server.inference.generation import Generation
from quandary_server.inference.object_scores import ObjectScores
from quandary_server.inference.parts import parts_of
from quandary_server.registry.manifest import CascadeRecord
from quandary_server.uncertainty.acquisition import ACQUISITIONS, acquire
from quandary_server.uncertainty.summary import summarise

Array = NDArray[np.float64]

FIRST_MASKS = 2
"""Masks of each member in the first pass. Its cost is that of the members' trunks: fewer members see too little of what they
disagree about, more masks tell little more (`quandary bench scoring` measures both)."""

FIRST_SAMPLES = 10
"""Samples that the first pass has at least, however few members there are."""

LEVELS = 20
"""Steps between the quantiles that a generation keeps."""


def escalate(generation: Generation, rasters: Rasters, options: ScoringOptions, jackknife: bool) -> ObjectScores:
    """Return the scores of D >= 1 rasters; raises ValueError as `estimate` does, and doubles a lone crop as it does.

    Where the generation has no threshold for the acquisition function, the full estimator answers all objects.
    """
    if len(rasters) == 1:
        return escalate(generation, rasters.take(np.zeros(2, np.intp)), options, jackknife).take(slice(0, 1))
    full = replace(options, estimator=Estimator.ENSEMBLE_MC_DROPOUT)
    record = generation.manifest.cascade
    threshold = escalation_threshold(record, options)
    if record is None or threshold == -np.inf or record.masks >= options.mc_samples:
        found = estimate(generation, rasters, full, jackknife)
        return replace(found, escalated=np.full(len(rasters), True))

    first = estimate(generation, rasters, replace(full, mc_samples=record.masks), jackknife)
    escalated = first.score >= threshold
    mixed = replace(first, score_without=_spread(first, generation.members, options.mc_samples), escalated=escalated)
    near = np.flatnonzero(escalated)
    return _placed(mixed, estimate(generation, rasters.take(near), full, jackknife), near) if len(near) else mixed


def escalation_threshold(record: CascadeRecord | None, options: ScoringOptions) -> float:
    """Return the first score from which on an object goes to the full estimator; minus infinity where all do."""
    quantiles = record.quantiles.get(options.effective_acquisition) if record else None
    if quantiles is None or options.escalate_share >= 1:
        return -np.inf
    levels = np.linspace(0.0, 1.0, len(quantiles))
    return float(np.interp(1.0 - options.escalate_share, levels, quantiles))


def calibrate_cascade(generation: Generation, rasters: Rasters) -> CascadeRecord:
    """Return the thresholds that D >= 1 crops of control drives give: quantiles of their first scores."""
    masks = max(FIRST_MASKS, -(-FIRST_SAMPLES // generation.members))
    twice = rasters if len(rasters) > 1 else rasters.take(np.zeros(2, np.intp))
    seed, scales = generation.seed(None), generation.epistemic_scales
    found: dict[Acquisition, list[Array]] = {name: [] for name in ACQUISITIONS}
    for part in parts_of(len(twice)):
        summary = summarise(generation.draw(twice.take(part), Estimator.ENSEMBLE_MC_DROPOUT, masks, seed).samples)
        for name, scores in found.items():
            scores.append(acquire(name, summary, scales))
    levels = np.linspace(0.0, 1.0, LEVELS + 1)
    drawn = {name: np.concatenate(scores)[: len(rasters)] for name, scores in found.items()}
    quantiles = {name.value: tuple(np.quantile(scores, levels).tolist()) for name, scores in drawn.items()}
    return CascadeRecord(masks=masks, crops=len(rasters), quantiles=quantiles)


def _spread(first: ObjectScores, members: int, masks: int) -> Array | None:
    """Return the first scores without each draw (M x m, D) as scores without each of all M x T.

    The masks that were not drawn change nothing. The others deviate by as much more or less as keeps the jackknife's standard
    error what it was: of n draws the sum of squares counts (n - 1) / n times.
    """
    without = first.score_without
    if without is None:
        return None
    drawn, wanted = len(without), members * masks
    mean = without.mean(axis=0)
    scale = np.sqrt((drawn - 1) / drawn * wanted / (wanted - 1))
    spread = np.empty((members, masks, len(mean)))
    spread[:] = mean
    spread[:, : drawn // members] += scale * (without - mean).reshape(members, -1, len(mean))
    return spread.reshape(wanted, -1)


def _placed(mixed: ObjectScores, full: ObjectScores, near: NDArray[np.intp]) -> ObjectScores:
    """Return the mixed scores with those of the full estimator in their places."""
    changed: dict[str, Any] = {}
    for field in fields(ObjectScores):
        before, after = getattr(mixed, field.name), getattr(full, field.name)
        if isinstance(before, np.ndarray) and after is not None:
            changed[field.name] = before.copy()
            changed[field.name][(slice(None), near) if field.name == "score_without" else near] = after
    return replace(mixed, **changed)
