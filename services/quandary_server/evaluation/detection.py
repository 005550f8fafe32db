"""How well a score tells what should stand out (objects unlike any in training) from what should not."""

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Array = NDArray[np.float64]


def auroc(positive: Array, negative: Array) -> float:
    """Return the probability, in [0, 1], that a positive's score (N,) exceeds a negative's (M,); a tie counts half.

    The area under the ROC curve, as the Mann-Whitney U statistic over N M (Hanley and McNeil 1982): 0.5 tells nothing apart.
    Raises ValueError for an empty side, and for scores that are not finite.
    """
    if len(positive) == 0 or len(negative) == 0:
        raise ValueError(f"{len(positive)} positives and {len(negative)} negatives: needs at least one of each")
    scores = np.concatenate([positive, negative])
    if not np.isfinite(scores).all():
        raise ValueError("scores must be finite")
    count = len(positive)
    wins = stats.rankdata(scores)[:count].sum() - count * (count + 1) / 2
    return float(wins / (count * len(negative)))
