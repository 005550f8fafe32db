"""How well the box is located, without a label (Kao et al. 2018, arXiv 1801.05124).

Theirs are 2D boxes of a two-stage detector, and noise in the image; ours are 3D boxes, held against the camera's proposal, and
jitter of the proposal.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

BACKGROUND = -1
"""Background is the last class; it has no box."""


@dataclass(frozen=True)
class Localisation:
    """tightness (..., D) in [-1, 1]; stability (..., D) in [0, 1]; None where not computed."""

    tightness: Array | None = None
    stability: Array | None = None


def tightness(overlaps: Array, mean_probs: Array) -> Array:
    """Return IoU + p - 1 (...) in [-1, 1] of the IoUs (...) of proposals and predicted boxes, and class probabilities (..., C).

    p is the largest probability of an object's class. Near 0 one of class and box is sure and the other is not, which is what
    to ask for; 1 is both, -1 neither.
    """
    return np.asarray(overlaps + mean_probs[..., :BACKGROUND].max(axis=-1) - 1.0)


def stability(overlaps: Array) -> Array:
    """Return the mean (...) of the IoUs (J, ...) of a box with those predicted under J disturbances."""
    return np.asarray(overlaps.mean(axis=0))


def stability_without(overlaps: Array) -> Array | None:
    """Return the stabilities (J, ...) without each disturbance, for the jackknife; None for fewer than 3."""
    count = len(overlaps)
    return (overlaps.sum(axis=0) - overlaps) / (count - 1) if count >= 3 else None
