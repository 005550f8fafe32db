"""Dropout masks that are the same for every crop of every request.

A mask depends on (seed, member, t) alone, so an answer does not depend on batch, replica or retry, and T = 20 is a prefix of
T = 40. The price: all objects share a draw's error (design: Monte Carlo standard error, rank correlation between seeds).
"""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Masks = tuple[NDArray[np.float32], NDArray[np.float32]]

CACHED = 256


@lru_cache(maxsize=CACHED)
def dropout_masks(seed: int, member: int, samples: int, widths: tuple[int, int], dropout: float) -> Masks:
    """Return masks (T, widths[0]) and (T, widths[1]), read-only: 0 with probability `dropout`, else 1 / (1 - dropout)."""
    rows = [np.random.default_rng([seed, member, t]).random(sum(widths)) for t in range(samples)]
    kept = (np.stack(rows) >= dropout) / np.float32(1 - dropout)
    masks = np.ascontiguousarray(kept[:, : widths[0]], np.float32), np.ascontiguousarray(kept[:, widths[0] :], np.float32)
    for mask in masks:
        mask.setflags(write=False)
    return masks


@lru_cache(maxsize=8)
def whole_masks(widths: tuple[int, int]) -> Masks:
    """Return masks (1, widths[0]) and (1, widths[1]) of ones, read-only: no dropout."""
    masks = np.ones((1, widths[0]), np.float32), np.ones((1, widths[1]), np.float32)
    for mask in masks:
        mask.setflags(write=False)
    return masks
