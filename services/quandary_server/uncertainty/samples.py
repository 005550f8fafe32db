"""What an estimator draws.

Arrays are (T samples, D detections, .). In memory D lies innermost: reductions over the others are three times faster so, and
round alike for every D >= 2. Outermost lies what is reduced most: classes of probabilities, samples of boxes.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Samples:
    """T draws for D detections.

    probs (T, D, C); box (T, D, 10) regressed values, as `frustum.anchor` has them; box_log_variance (T, D, 7).
    """

    probs: Array
    box: Array
    box_log_variance: Array

    @property
    def count(self) -> int:
        """T."""
        return len(self.probs)


def softmax(logits: NDArray[np.floating], temperature: float = 1.0) -> Array:
    """Return class probabilities (T, D, C) of logits (T, D, C), divided by the temperature; classes lie outermost."""
    probs = np.empty((logits.shape[2], *logits.shape[:2])).transpose(1, 2, 0)
    probs[:] = logits
    probs /= temperature
    probs -= probs.max(axis=-1, keepdims=True)
    np.exp(probs, out=probs)
    probs /= probs.sum(axis=-1, keepdims=True)
    return probs


def log_probabilities(probs: Array) -> Array:
    """Return the logarithms (T, D, C) of probabilities (T, D, C): logits, but for a constant per draw and detection."""
    return np.asarray(np.log(np.maximum(probs, np.finfo(np.float64).tiny)))


def detections_last(values: NDArray[np.floating]) -> Array:
    """Return values (T, D, K) in double precision, with D innermost and T outermost in memory."""
    found = np.empty((len(values), *values.shape[:0:-1])).transpose(0, 2, 1)
    found[:] = values
    return found


def unit_vectors(vectors: Array) -> Array:
    """Return vectors (..., 2) scaled to length one."""
    return np.asarray(vectors / np.maximum(lengths(vectors), 1e-12)[..., None])


def lengths(vectors: Array) -> Array:
    """Return the lengths (...) of vectors (..., 2)."""
    # faster than np.hypot, which guards against overflow that no box comes near
    squares = vectors * vectors
    return np.asarray(np.sqrt(squares[..., 0] + squares[..., 1]))
