"""How far predicted probabilities can be believed (Guo et al. 2017, arXiv 1706.04599)."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import optimize

from quandary_server.uncertainty.samples import softmax

Array = NDArray[np.float64]
Indices = NDArray[np.integer]

BINS = 15

TEMPERATURES = (0.05, 20.0)
"""The range that a temperature is sought in."""

GRID = 25
"""Temperatures that are tried before the best is refined: neighbours differ by 28 %."""


def negative_log_likelihoods(probs: Array, classes: Indices) -> Array:
    """Return -log p of the true class (N,) in nats, of probs (N, C) and true class indices (N,)."""
    own = probs[np.arange(len(classes)), classes]
    return np.asarray(-np.log(np.maximum(own, np.finfo(np.float64).tiny)))


def brier_scores(probs: Array, classes: Indices) -> Array:
    """Return the squared distance (N,) of probs (N, C) from the one-hot truth, in [0, 2]."""
    truth = np.eye(probs.shape[1])[classes]
    return np.asarray(((probs - truth) ** 2).sum(axis=1))


@dataclass(frozen=True)
class Reliability:
    """Confidence against accuracy over B equally wide bins of confidence (Niculescu-Mizil and Caruana 2005).

    edges (B + 1,) from 0 to 1; mean confidence, accuracy and counts (B,) of each bin. An empty bin has count 0 and holds 0.0.
    """

    edges: Array
    confidence: Array
    accuracy: Array
    counts: NDArray[np.int_]


def reliability(probs: Array, classes: Indices, bins: int = BINS) -> Reliability:
    """Return the reliability of probs (N, C) against true class indices (N,); a bin holds its lower edge, the last one both.

    Raises ValueError for less than 1 bin.
    """
    if bins < 1:
        raise ValueError(f"needs at least 1 bin, got {bins}")
    confidence, right = probs.max(axis=1), probs.argmax(axis=1) == classes
    which = np.minimum((confidence * bins).astype(int), bins - 1)
    counts = np.bincount(which, minlength=bins)
    return Reliability(
        edges=np.linspace(0.0, 1.0, bins + 1),
        confidence=np.bincount(which, weights=confidence, minlength=bins) / np.maximum(counts, 1),
        accuracy=np.bincount(which, weights=right, minlength=bins) / np.maximum(counts, 1),
        counts=counts,
    )


def expected_calibration_error(probs: Array, classes: Indices, bins: int = BINS) -> float:
    """Return the mean gap of confidence and accuracy over equally wide bins of confidence, weighted by their size."""
    found = reliability(probs, classes, bins)
    gaps = np.abs(found.accuracy - found.confidence)
    return float((found.counts * gaps).sum() / max(found.counts.sum(), 1))


def fit_temperature(logits: NDArray[np.floating], classes: Indices) -> float:
    """Return the temperature of least NLL of true class indices (D,), for logits (T, D, C) divided by it.

    The NLL is that of the mean over T of the softmaxes; it need not have one minimum only, so the best of a grid is refined.
    The temperature is in [0.05, 20]: at an end where the NLL still falls there (all are right, or no better than chance).

    Raises ValueError for no detections, shapes that disagree, class indices outside of C, and logits that are not finite.
    """
    if logits.ndim != 3 or logits.shape[0] == 0 or logits.shape[1] == 0 or classes.shape != logits.shape[1:2]:
        raise ValueError(
            f"logits {logits.shape} and classes {classes.shape} must be (T, D, C) and (D,), with T and D at least 1"
        )
    if classes.min() < 0 or classes.max() >= logits.shape[2]:
        raise ValueError(f"class indices must be in [0, {logits.shape[2]}), got {classes.min()} to {classes.max()}")
    if not np.isfinite(logits).all():
        raise ValueError("logits must be finite")

    def loss(log_temperature: float) -> float:
        mean_probs = softmax(logits, float(np.exp(log_temperature))).mean(axis=0)
        return float(negative_log_likelihoods(mean_probs, classes).mean())

    grid = np.log(np.geomspace(*TEMPERATURES, GRID))
    best = int(np.argmin([loss(point) for point in grid]))
    around = (grid[max(best - 1, 0)], grid[min(best + 1, GRID - 1)])
    refined = optimize.minimize_scalar(loss, bounds=around, method="bounded").x
    return float(np.clip(np.exp(refined), *TEMPERATURES))
