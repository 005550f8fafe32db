"""Many crops, some at a time."""

import numpy as np
from numpy.typing import NDArray

CROPS_AT_ONCE = 512
"""What is drawn for a crop, 20 kB each time it is copied, would fill the memory for all that are labelled."""


def parts_of(count: int) -> list[NDArray[np.intp]]:
    """Return the indices of `count` >= 1 crops in parts of much the same size, CROPS_AT_ONCE at the most; of several none is
    alone.
    """
    return np.array_split(np.arange(count), -(-count // CROPS_AT_ONCE))
