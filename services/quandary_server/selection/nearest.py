"""The frame that looks most like another, by what the detector makes of their objects."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from quandary_server.selection.core_set import unit

__all__ = ["Nearest", "nearest"]


class Nearest(NamedTuple):
    """A row, and its cosine distance in [0, 2]."""

    row: int
    distance: float


def nearest(embedding: NDArray[np.float32], others: NDArray[np.float32], leave_out: int | None = None) -> Nearest | None:
    """Return the nearest of the others (M, E), unit rows, to an embedding (E,), the first of equals.

    leave_out: a row that does not count. None where no other is left, and for an embedding of zeros, which is unknown. The
    distance is that of folding (`folding.Nearness`), and taken without BLAS alike: threads change no answer.
    """
    mine = unit(embedding[None])[0]
    if not mine.any() or len(others) == (leave_out is not None):
        return None
    distances = 1.0 - np.einsum("me,e->m", others, mine)
    if leave_out is not None:
        distances[leave_out] = np.inf
    row = int(np.argmin(distances))
    return Nearest(row, float(np.clip(distances[row], 0.0, 2.0)))
