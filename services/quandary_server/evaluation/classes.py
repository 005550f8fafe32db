"""Errors of the predicted class."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Indices = NDArray[np.integer]


def recalls(truth: Indices, predicted: Indices, classes: Sequence[int]) -> dict[int, float]:
    """Return the recall of each of `classes` that occurs in the truth (N,), given the predictions (N,)."""
    return {c: float((predicted[truth == c] == c).mean()) for c in classes if (truth == c).any()}


def frequent_classes(truth: Indices, classes: int, least: int) -> list[int]:
    """Return those of the classes 0 to `classes` - 1 that occur at least so often in the truth (N,)."""
    return [int(index) for index in np.flatnonzero(np.bincount(truth, minlength=classes) >= least)]


def macro_recall(truth: Indices, predicted: Indices, classes: Sequence[int]) -> float:
    """Return the mean recall over those of `classes` that occur in the truth; NaN-free: raises ValueError if none does."""
    found = recalls(truth, predicted, classes)
    if not found:
        raise ValueError("none of the classes occurs in the truth")
    return float(np.mean(list(found.values())))
