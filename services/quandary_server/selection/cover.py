"""Cover: frames that show what no frame before them shows."""

import numpy as np
from numpy.typing import NDArray

from quandary_server.selection.candidates import Candidates, Taken
from quandary_server.selection.core_set import known, unit
from quandary_server.selection.ranking import Order

Array = NDArray[np.float64]


def totals(candidates: Candidates) -> Array:
    """Return what each candidate (N,) would tell in all: the sum over its objects, its own score where they are not known."""
    found = candidates.objects.total(len(candidates))
    return np.where(_with_objects(candidates), found, candidates.scores)


def cover(shortlist: Order, candidates: Candidates, taken: Taken, reach: float, k: int) -> Order:
    """Return up to k of a shortlist in the order of picking: each tells the most that nothing taken or before it tells.

    An object tells its score, times its cosine distance over `reach`, at most 1, from the nearest object of its drive that is
    shown already. Were objects either the same or wholly others, this would be greedy maximum coverage, which tells at least
    1 - 1/e of what the best k tell (Nemhauser et al. 1978). A frame whose objects are not known tells its score, and shows
    nothing. Equal ones go by their order in the shortlist. Distances are taken without BLAS: threads change no pick.
    """
    near = candidates.take(shortlist).with_objects()
    shown = _Shown(near, reach)
    shown.by_taken(taken)

    picked: list[int] = []
    left = np.ones(len(near), np.bool_)
    for _ in range(min(k, len(near))):
        index = int(np.argmax(np.where(left, shown.telling(), -1.0)))
        picked.append(index)
        left[index] = False
        shown.by_pick(index)
    return shortlist[picked]


class _Shown:
    """How far each object of the candidates is from what is shown already, as a share of the reach."""

    def __init__(self, candidates: Candidates, reach: float) -> None:
        self._objects, self._reach = candidates.objects, reach
        self._embeddings = unit(self._objects.embeddings)
        self._drives = candidates.drives
        self._of_drive = candidates.drives[self._objects.frames]
        self._novelty = np.ones(len(self._objects))
        self._unknown = np.where(_with_objects(candidates), 0.0, candidates.scores)

    def telling(self) -> Array:
        """Return what each candidate (N,) tells now."""
        told = np.bincount(self._objects.frames, self._objects.scores * self._novelty, len(self._drives))
        return np.asarray(told + self._unknown)

    def by_taken(self, taken: Taken) -> None:
        """Take note of what the taken show."""
        embeddings = unit(taken.objects.embeddings)
        of_drive = taken.drives[taken.objects.frames]
        for drive in np.unique(of_drive):
            self._show(embeddings[of_drive == drive], drive)

    def by_pick(self, index: int) -> None:
        """Take note of what a candidate shows."""
        first, last = np.searchsorted(self._objects.frames, [index, index + 1])
        self._show(self._embeddings[first:last], self._drives[index])

    def _show(self, embeddings: NDArray[np.float32], drive: str) -> None:
        near = np.flatnonzero(self._of_drive == drive)
        mine = self._embeddings[near]
        near, mine = near[known(mine)], mine[known(mine)]
        for row in embeddings[known(embeddings)]:
            distance = 1.0 - np.einsum("re,e->r", mine, row)
            self._novelty[near] = np.minimum(self._novelty[near], np.clip(distance / self._reach, 0.0, 1.0))


def _with_objects(candidates: Candidates) -> NDArray[np.bool_]:
    return np.bincount(candidates.objects.frames, minlength=len(candidates)) > 0
