"""From the scores of a frame's objects to the score of the frame."""

import numpy as np
from numpy.typing import NDArray

from quandary.options import Reduction

Array = NDArray[np.float64]


def reduce_objects(reduction: Reduction, scores: Array, top_k: int = 3) -> float:
    """Return the score of a frame with object scores (D,); a frame without objects scores 0. top_k: for TOP_K_MEAN."""
    return float((scores * weights(reduction, scores, top_k)).sum()) if len(scores) else 0.0


def reduce_errors(reduction: Reduction, scores: Array, errors: Array, top_k: int = 3) -> float:
    """Return the standard error of the reduced score from those of the objects (D,), taken as independent."""
    return float(np.sqrt(((weights(reduction, scores, top_k) * errors) ** 2).sum())) if len(scores) else 0.0


def weights(reduction: Reduction, scores: Array, top_k: int = 3) -> Array:
    """Return what each of the D >= 1 objects weighs in the frame's score, (D,); ties go to the first."""
    count = len(scores)
    if reduction is Reduction.SUM:
        return np.ones(count)
    kept = {Reduction.MAX: 1, Reduction.MEAN: count, Reduction.TOP_K_MEAN: min(top_k, count)}[reduction]
    share = np.zeros(count)
    share[np.argsort(-scores, kind="stable")[:kept]] = 1 / kept
    return share
