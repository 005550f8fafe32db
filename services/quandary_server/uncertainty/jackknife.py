"""How much a figure hangs on which masks or members were drawn (Efron and Stein 1981, The Jackknife Estimate of Variance)."""

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def standard_error(without: Array) -> Array:
    """Return the standard error (...) of a figure from its T values (T, ...), each without one of the T draws."""
    count = len(without)
    spread = ((without - without.mean(axis=0)) ** 2).sum(axis=0)
    return np.asarray(np.sqrt((count - 1) / count * spread))
