"""What a label costs, as it can be told before anyone has looked."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray


@dataclass(frozen=True, slots=True)
class LabellingCost:
    """Seconds of labelling work: of a frame as such, and of each proposal in it as a 3D box drawn by hand.

    How many objects a frame holds is known only once it is labelled, so that its proposals count. Raises ValueError for a
    negative or infinite time.
    """

    frame_s: float
    box_s: float

    def __post_init__(self) -> None:
        for name in ("frame_s", "box_s"):
            if not 0 <= getattr(self, name) < np.inf:
                raise ValueError(f"{name} must be finite and >= 0, is {getattr(self, name)}")

    def seconds(self, crops: ArrayLike) -> NDArray[np.float64]:
        """Return the seconds (N,) of frames with so many proposals (N,)."""
        return self.frame_s + self.box_s * np.asarray(crops, np.float64)
