"""From the scores of a frame's objects to the score of the frame."""

import numpy as np
from numpy.typing import NDArray

from quandary.options import Reduction

Array = NDArray[np.float64]


def reduce_objects(reduction: Reduction, scores: Array, top_k: int = 3) -> Array:
    """Return the scores (...) of frames with object scores (..., D); a frame without objects scores 0. top_k: for TOP_K_MEAN.

    Every row picks its own largest: the largest object of one draw need not be that of the next.
    """
    count = scores.shape[-1]
    if count == 0 or reduction is Reduction.SUM:
        return np.asarray(scores.sum(axis=-1))
    kept = {Reduction.MAX: 1, Reduction.MEAN: count, Reduction.TOP_K_MEAN: min(top_k, count)}[reduction]
    return np.asarray(np.sort(scores, axis=-1)[..., count - kept :].mean(axis=-1))
