"""Entropies of class distributions, in nats (science: Feng et al. 2019, arXiv 1901.10609; BALD, arXiv 1112.5745)."""

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

TINY = np.finfo(np.float64).tiny


def entropy(probs: Array) -> Array:
    """Return the Shannon entropy (...,) in nats of distributions (..., C); 0 log 0 is 0."""
    return np.asarray(-(probs * np.log(np.maximum(probs, TINY))).sum(axis=-1))


def predictive_entropy(probs: Array) -> Array:
    """Return the entropy (D,) in nats of the mean of probs (T, D, C): the total uncertainty."""
    return entropy(probs.mean(axis=0))


def expected_entropy(probs: Array) -> Array:
    """Return the mean entropy (D,) in nats of probs (T, D, C): the aleatoric part."""
    return np.asarray(entropy(probs).mean(axis=0))


def mutual_information(probs: Array) -> Array:
    """Return predictive less expected entropy (D,) in nats of probs (T, D, C): the epistemic part, >= 0.

    Raises ValueError for T = 1, where it is 0 by identity and says nothing.
    """
    if len(probs) < 2:
        raise ValueError("mutual information needs at least 2 samples")
    return np.maximum(predictive_entropy(probs) - expected_entropy(probs), 0.0)


def margin(mean_probs: Array) -> Array:
    """Return the difference (...,) of the two largest probabilities of (..., C), in [0, 1]."""
    largest = np.partition(mean_probs, -2, axis=-1)[..., -2:]
    return np.asarray(largest[..., 1] - largest[..., 0])
