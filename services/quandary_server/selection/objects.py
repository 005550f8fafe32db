"""The objects of frames, as a query sees them."""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Objects:
    """R objects of N frames.

    frames (R,): index of each object's frame, ascending. scores (R,) >= 0: what a label would tell. embeddings (R, E): a row
    of zeros is unknown. Raises ValueError naming the field for a wrong shape, order or value.
    """

    frames: NDArray[np.intp]
    scores: NDArray[np.float64]
    embeddings: NDArray[np.float32]

    def __post_init__(self) -> None:
        rows = (len(self.frames),)
        for name, ndim in (("frames", 1), ("scores", 1), ("embeddings", 2)):
            shape = np.shape(getattr(self, name))
            if shape[:1] != rows or len(shape) != ndim:
                raise ValueError(f"objects.{name} must have {ndim} axes and {rows[0]} rows, its shape is {shape}")
        if np.any(np.diff(self.frames) < 0) or np.any(self.frames < 0):
            raise ValueError("objects.frames must ascend from 0 on")
        if not (np.isfinite(self.scores).all() and np.isfinite(self.embeddings).all()):
            raise ValueError("objects.scores and objects.embeddings must be finite")
        if np.any(self.scores < 0):
            raise ValueError(f"objects.scores must be >= 0, the least is {self.scores.min()}")

    @classmethod
    def none(cls, embedding_size: int) -> Self:
        """Return what frames of which nothing is known hold."""
        return cls(np.empty(0, np.intp), np.empty(0), np.empty((0, embedding_size), np.float32))

    def __len__(self) -> int:
        return len(self.frames)

    def take(self, which: NDArray[np.intp]) -> Self:
        """Return the objects of the frames at indices (K,), each given once, which become frames 0, 1, ..."""
        place = np.full(max(self.frames.max(initial=-1), which.max(initial=-1)) + 1, -1)
        place[which] = np.arange(len(which))
        kept = np.flatnonzero(place[self.frames] >= 0)
        kept = kept[np.argsort(place[self.frames[kept]], kind="stable")]
        return type(self)(place[self.frames[kept]], self.scores[kept], self.embeddings[kept])

    def total(self, frames: int) -> NDArray[np.float64]:
        """Return the sum of the objects' scores of each frame (N,)."""
        return np.bincount(self.frames, self.scores, frames).astype(np.float64)
