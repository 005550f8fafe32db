"""Balance: a floor under each class, so that no class is forgotten for the many of another."""

import numpy as np
from numpy.typing import NDArray

from quandary_server.selection.ranking import Order

MIN_SHARE = 0.2
"""A candidate whose likeliest class has no larger share than this stands for no class."""

MORE_LIKELY_THAN_NOT = 0.5


def stands_for(class_shares: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return for which classes (N, C - 1) candidates with class shares (N, C) count; for Background, the last, none does.

    A crop stands for its likeliest class, a frame for every class that it more likely than not holds.
    """
    likeliest = class_shares == class_shares.max(axis=1, keepdims=True, initial=0.0)
    stands = (class_shares > MORE_LIKELY_THAN_NOT) | (likeliest & (class_shares > MIN_SHARE))
    return np.asarray(stands[:, :-1])


def class_quota(k: int, classes: int, floor: float) -> int:
    """Return how many of k picks are due to each of C classes but Background: the floor's share of an even split, rounded."""
    return int(floor * k / (classes - 1) + 0.5)


def class_floor(order: Order, class_shares: NDArray[np.float64], k: int, floor: float) -> Order:
    """Return what must be among the k picks of an order (K,), at most k, in that order, for the floor to hold.

    Every class but Background, the last, is due `class_quota` picks that stand for it, as far as there are so many in the
    order; the first in the order fill it, and one that stands for several classes counts for each. Where rounding makes the
    quotas more than k, the first k. class_shares: (N, C). floor: 0 (none) to 1 (an even split). Raises ValueError for a floor
    with no class besides Background.
    """
    if floor == 0 or k == 0 or len(order) == 0:
        return order[:0]
    if class_shares.shape[1] < 2:
        raise ValueError(f"class_shares must have at least 2 classes for a class floor, there is {class_shares.shape[1]}")
    stands = stands_for(class_shares)[order]
    due = np.full(stands.shape[1], class_quota(k, class_shares.shape[1], floor))
    reserved: list[int] = []
    for place in np.flatnonzero(stands.any(axis=1)).tolist():
        if len(reserved) == k or not due.any():
            break
        if np.any(due[stands[place]]):
            reserved.append(place)
            due[stands[place]] = np.maximum(due[stands[place]] - 1, 0)
    return order[reserved]
