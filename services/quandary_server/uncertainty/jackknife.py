"""How much a figure hangs on which masks or members were drawn (Efron and Stein 1981, The Jackknife Estimate of Variance)."""

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def standard_error(without: Array) -> Array:
    """Return the standard error (...) of a figure from its T values (T, ...), each without one of the T draws.

    A figure alone and one among others get the same bytes.
    """
    count = len(without)
    # (..., T) in one piece: along any other axis NumPy sums a lone figure in another order than several
    values = np.ascontiguousarray(np.moveaxis(without, 0, -1))
    spread = ((values - values.mean(axis=-1, keepdims=True)) ** 2).sum(axis=-1)
    return np.asarray(np.sqrt((count - 1) / count * spread))
