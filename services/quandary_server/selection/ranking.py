"""Orders of N candidates, first wanted first, each an array of indices (N,)."""

import numpy as np
from numpy.typing import NDArray

Order = NDArray[np.intp]


def top_k(scores: NDArray[np.float64], ids: NDArray[np.str_]) -> Order:
    """Return the order by scores (N,), best first; equal scores go by ids (N,)."""
    return np.lexsort((ids, -scores))


def power_order(scores: NDArray[np.float64], rng: np.random.Generator, power: float = 1.0) -> Order:
    """Draw an order without replacement in which the next is one of those left with probability ~ score ** power.

    Power sampling (Kirsch et al. 2021, arXiv 2106.12059) by the Gumbel-top-k trick: the order of power * log(score) plus
    Gumbel noise. Scores of 0 come last, in random order. scores: (N,). Raises ValueError for a score below 0.
    """
    if np.any(scores < 0):
        raise ValueError(f"scores must be >= 0 for power sampling, the least is {scores.min()}")
    noise = rng.gumbel(size=len(scores))
    positive = scores > 0
    log_scores = np.log(scores, out=np.zeros(len(scores)), where=positive)
    return np.lexsort((-(power * log_scores + noise), ~positive))


def random_order(rng: np.random.Generator, count: int) -> Order:
    """Draw an order of `count` candidates by chance."""
    return rng.permutation(count).astype(np.intp, copy=False)


def within_budget(order: Order, seconds: NDArray[np.float64], budget_s: float) -> Order:
    """Return the longest start of an order (K,) whose work fits the budget, and at the least its first.

    seconds: (N,) of labelling work of each candidate. A labeller works in order: nothing too dear is jumped for something
    cheaper behind it, and a first that is dearer than the budget is asked for all the same: else nothing ever would be.
    Raises ValueError for a budget below 0.
    """
    if not budget_s >= 0:
        raise ValueError(f"budget_s must be >= 0, is {budget_s}")
    fits = np.cumsum(seconds[order]) <= budget_s
    return order[: max(np.count_nonzero(fits), 1)]
