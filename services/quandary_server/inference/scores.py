"""From rasters to scored objects."""

from quandary.options import Estimator, ScoringOptions
from quandary_server.frustum.raster import Rasters
from quandary_server.inference.cascade import escalate
from quandary_server.inference.estimate import estimate
from quandary_server.inference.generation import Generation
from quandary_server.inference.object_scores import ObjectScores
from quandary_server.inference.parts import parts_of


def score_rasters(generation: Generation, rasters: Rasters, options: ScoringOptions, *, jackknife: bool = True) -> ObjectScores:
    """Return the scores of D >= 1 rasters by a generation; without the jackknife `score_without` is None.

    The same rasters give the same bytes in whatever company. Raises ValueError where the acquisition function needs views or
    jitter that the rasters lack.
    """
    if options.estimator is Estimator.ESCALATE:
        return escalate(generation, rasters, options, jackknife)
    return estimate(generation, rasters, options, jackknife)


def score_many(generation: Generation, rasters: Rasters, options: ScoringOptions) -> ObjectScores:
    """Return what `score_rasters` does without the jackknife, to the byte, of any number of rasters in bounded memory."""
    parts = parts_of(len(rasters))
    if len(parts) == 1:
        return score_rasters(generation, rasters, options, jackknife=False)
    return ObjectScores.joined([score_rasters(generation, rasters.take(part), options, jackknife=False) for part in parts])
