"""What a label costs, as it can be told before anyone has looked."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray


@dataclass(frozen=True, slots=True)
class LabellingCost:
    """Seconds of labelling work: of a frame as such, and of each proposal in it.

    box_s: of a 3D box drawn by hand, for a proposal of which nothing is known. class_s (C,): by class, Background, which is
    only looked at, last; none given: box_s for all. An object of fewer than sparse_points points takes sparse_factor times as
    long: it is guessed rather than seen. How many objects a frame holds is known only once it is labelled, so that its
    proposals count, by what the detector takes them for. Raises ValueError naming the field for a time that is negative or not
    finite, a number of points below 0, a factor below 1.
    """

    frame_s: float
    box_s: float
    class_s: tuple[float, ...] = ()
    sparse_points: int = 0
    sparse_factor: float = 1.0

    def __post_init__(self) -> None:
        times = {"frame_s": self.frame_s, "box_s": self.box_s}
        times |= {f"class_s[{index}]": seconds for index, seconds in enumerate(self.class_s)}
        for name, seconds in times.items():
            if not 0 <= seconds < np.inf:
                raise ValueError(f"{name} must be finite and >= 0, is {seconds}")
        if self.sparse_points < 0:
            raise ValueError(f"sparse_points must be >= 0, is {self.sparse_points}")
        if not 1 <= self.sparse_factor < np.inf:
            raise ValueError(f"sparse_factor must be finite and >= 1, is {self.sparse_factor}")

    def objects(self, probs: NDArray[np.float64], points: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the seconds (D,) of objects with class probabilities (D, C) and points (D,).

        Raises ValueError for another number of classes than class_s has.
        """
        if self.class_s and probs.shape[1] != len(self.class_s):
            raise ValueError(f"probs must have {len(self.class_s)} classes, as class_s has, they have {probs.shape[1]}")
        sparse = points < self.sparse_points
        class_s = np.array(self.class_s or (self.box_s,) * probs.shape[1])
        other = np.maximum(1.0 - probs.sum(axis=1), 0.0)  # of classes that are none of ours
        work = probs @ class_s + other * self.box_s
        return np.asarray(work * np.where(sparse, self.sparse_factor, 1.0))

    def seconds(
        self, crops: ArrayLike, frames: ArrayLike = (), probs: ArrayLike = (), points: ArrayLike = ()
    ) -> NDArray[np.float64]:
        """Return the seconds (N,) of frames with so many proposals (N,).

        Of D proposals more is known: the frames (D,) that they are in, class probabilities (D, C) and points (D,).
        """
        crops, rows = np.asarray(crops, np.float64), np.asarray(frames, np.intp)
        work = np.empty(0)
        if len(rows):
            work = self.objects(np.asarray(probs, np.float64), np.asarray(points, np.int64))
        unknown = np.maximum(crops - np.bincount(rows, minlength=len(crops)), 0.0)
        return np.asarray(self.frame_s + self.box_s * unknown + np.bincount(rows, work, len(crops)))
