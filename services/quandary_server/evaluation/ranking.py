"""How well one ranking keeps what another asks for first."""

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def top_overlap(scores: Array, reference: Array, share: float = 0.1) -> float:
    """Return the part, in [0, 1], of the reference's top `share` that is among the top as many by the scores, both (N,).

    Of equal scores the first comes first. Raises ValueError for no scores, differing lengths, or a share outside of (0, 1].
    """
    if len(scores) == 0 or len(scores) != len(reference):
        raise ValueError(f"{len(scores)} scores and {len(reference)} of the reference: must be equally many, at least one")
    if not 0 < share <= 1:
        raise ValueError(f"the share must be in (0, 1], got {share}")
    count = max(1, round(share * len(scores)))
    first, second = (np.argsort(-values, kind="stable")[:count] for values in (scores, reference))
    return len(np.intersect1d(first, second)) / count
