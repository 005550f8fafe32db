"""How far predicted probabilities can be believed (Guo et al. 2017, arXiv 1706.04599)."""

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Indices = NDArray[np.integer]

BINS = 15


def negative_log_likelihoods(probs: Array, classes: Indices) -> Array:
    """Return -log p of the true class (N,) in nats, of probs (N, C) and true class indices (N,)."""
    own = probs[np.arange(len(classes)), classes]
    return np.asarray(-np.log(np.maximum(own, np.finfo(np.float64).tiny)))


def brier_scores(probs: Array, classes: Indices) -> Array:
    """Return the squared distance (N,) of probs (N, C) from the one-hot truth, in [0, 2]."""
    truth = np.eye(probs.shape[1])[classes]
    return np.asarray(((probs - truth) ** 2).sum(axis=1))


def expected_calibration_error(probs: Array, classes: Indices, bins: int = BINS) -> float:
    """Return the mean gap of confidence and accuracy over equally wide bins of confidence, weighted by their size."""
    confidence, right = probs.max(axis=1), probs.argmax(axis=1) == classes
    which = np.minimum((confidence * bins).astype(int), bins - 1)
    sizes = np.bincount(which, minlength=bins)
    gaps = np.bincount(which, weights=right - confidence, minlength=bins)
    return float(np.abs(gaps).sum() / max(sizes.sum(), 1))
