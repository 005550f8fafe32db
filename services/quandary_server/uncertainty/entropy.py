"""How undecided class distributions are."""

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

TINY = np.finfo(np.float64).tiny


def entropy(probs: Array) -> Array:
    """Return the Shannon entropy (...,) in nats of distributions (..., C); 0 log 0 is 0."""
    return np.asarray(-(probs * np.log(np.maximum(probs, TINY))).sum(axis=-1))


def margin(mean_probs: Array) -> Array:
    """Return the difference (...,) of the two largest probabilities of (..., C), in [0, 1]."""
    largest = np.partition(mean_probs, -2, axis=-1)[..., -2:]
    return np.asarray(largest[..., 1] - largest[..., 0])
