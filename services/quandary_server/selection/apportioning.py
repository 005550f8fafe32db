"""Apportioning: an order is given out anew, so that every start of it keeps the quotas."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from quandary_server.selection.quotas import NO_GROUP, Quota, Traits, groups
from quandary_server.selection.ranking import Order

LEAST_SHARE = 1e-12
"""What stands for a share of 0 below a fraction line: a quota of nothing is broken last."""


@dataclass(frozen=True, eq=False)
class Apportioning:
    """The quotas of a query, over N candidates and what the newest generation has asked for already.

    quotas (Q,), groups (N, Q) of the candidates, counts: for each of Q, how many of the asked each of its groups has. asked:
    how many those are.
    """

    quotas: Sequence[Quota]
    groups: NDArray[np.intp]
    counts: Sequence[NDArray[np.intp]]
    asked: int

    @classmethod
    def of(cls, quotas: Sequence[Quota], frames: Traits, asked: int) -> Self:
        """Return that of frames, the first of which, `asked`, are not candidates but asked for already.

        Raises ValueError as `quotas.groups` does.
        """
        columns = [groups(quota, frames) for quota in quotas]
        table = np.concatenate([np.empty((len(frames.drives), 0), np.intp), *columns], axis=1)
        before = [column[:asked][column[:asked] != NO_GROUP] for column in table.T]
        sizes = table.max(axis=0, initial=NO_GROUP) + 1
        return cls(
            [quota for quota, column in zip(quotas, columns, strict=True) for _ in column.T],
            table[asked:],
            [np.bincount(rows, minlength=size) for rows, size in zip(before, sizes.tolist(), strict=True)],
            asked,
        )

    def apportioned(self, order: Order, k: int) -> Order:
        """Return an order (K,) whose first k places are given out anew; the others follow as they were.

        A place goes to the candidate left that breaks no quota's `most`, and else the one that oversteps it by the smallest
        factor; of such, to one that a `least` is due to, if there is any; of such, to the first. So without quotas, and where
        none binds, nothing moves.
        """
        if not self.quotas:
            return order
        kinds = _Kinds(self.groups[order])
        counts = [count.copy() for count in self.counts]
        given = np.empty(min(k, len(order)), np.intp)
        for place in range(len(given)):
            kind = self._next(kinds, counts, self.asked + place + 1)
            given[place] = kinds.take(kind)
            for count, group in zip(counts, kinds.groups[kind].tolist(), strict=True):
                if group != NO_GROUP:
                    count[group] += 1
        left = np.ones(len(order), np.bool_)
        left[given] = False
        return np.concatenate([order[given], order[left]])

    def _next(self, kinds: "_Kinds", counts: Sequence[NDArray[np.intp]], asked: int) -> int:
        """Return the kind that gets the place with which so many are asked for."""
        breaks, due = np.zeros(len(kinds), np.bool_), np.zeros(len(kinds), np.bool_)
        for quota, count, of in zip(self.quotas, counts, kinds.groups.T, strict=True):
            breaks |= _in_groups(count + 1 > quota.room(asked), of)
            due |= _in_groups(count < quota.due(asked), of)
        best = kinds.is_left & ~breaks
        if not best.any():
            over = np.where(kinds.is_left, self._overstepped(kinds, counts, asked), np.inf)
            best = over == over.min()
        if np.any(best & due):
            best &= due
        return int(np.argmin(np.where(best, kinds.head, np.iinfo(np.intp).max)))

    def _overstepped(self, kinds: "_Kinds", counts: Sequence[NDArray[np.intp]], asked: int) -> NDArray[np.float64]:
        """Return the factor (S,) by which one more of each kind oversteps the quota that it breaks most."""
        over = np.zeros(len(kinds))
        for quota, count, of in zip(self.quotas, counts, kinds.groups.T, strict=True):
            factor = np.where(count + 1 > quota.room(asked), (count + 1) / max(quota.most * asked, LEAST_SHARE), 0.0)
            over = np.maximum(over, np.append(factor, 0.0)[of])
        return over


def _in_groups(which: NDArray[np.bool_], of: NDArray[np.intp]) -> NDArray[np.bool_]:
    """Return which kinds (S,), by their groups, are in some of the groups (G,)."""
    # NO_GROUP takes the last, which is none of them
    return np.append(which, False)[of] if which.any() else np.zeros(len(of), np.bool_)


class _Kinds:
    """The places (K,) of an order by the groups that their candidates are in: S kinds, each in the order's order."""

    def __init__(self, table: NDArray[np.intp]) -> None:
        self.groups, of = np.unique(table, axis=0, return_inverse=True)  # (S, Q), (K,)
        of = of.reshape(-1)
        by_kind = np.argsort(of, kind="stable")
        ends = np.cumsum(np.bincount(of, minlength=len(self.groups)))
        self._places = [iter(places.tolist()) for places in np.split(by_kind, ends[:-1])]
        self.is_left = np.ones(len(self.groups), np.bool_)
        self.head = np.zeros(len(self.groups), np.intp)
        for kind in range(len(self.groups)):
            self._advance(kind)

    def __len__(self) -> int:
        return len(self.groups)

    def take(self, kind: int) -> int:
        """Return the first place left of a kind, which is so no more."""
        place = int(self.head[kind])
        self._advance(kind)
        return place

    def _advance(self, kind: int) -> None:
        place = next(self._places[kind], None)
        self.is_left[kind] = place is not None
        self.head[kind] = -1 if place is None else place
