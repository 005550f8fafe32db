"""Folding: streams repeat themselves, and near copies of what is asked for already wait behind all others."""

from bisect import bisect_left, bisect_right
from collections import defaultdict

import numpy as np
from numpy.typing import NDArray

from quandary_server.selection.candidates import Candidates, Taken
from quandary_server.selection.core_set import known, unit
from quandary_server.selection.ranking import Order

TICK_S = 1e-6
"""Stamps are whole microseconds: differences are compared to half of one, so that rounding decides nothing."""


def spaced(
    order: Order, candidates: Candidates, taken: Taken, gap_s: float, max_distance: float | None = None
) -> tuple[Order, Order]:
    """Split an order (K,) into those apart from each other and those passed over, both in that order.

    Passed over is whoever is closer in time than gap_s, in the same drive, to one that is taken or kept before it. Crops of
    one frame have one stamp: with max_distance a neighbour in time is a near copy only if the cosine distance of its
    embedding is below it, too. None, or an embedding that is unknown: time alone decides. A gap of 0 keeps all.
    """
    reach_s = gap_s - TICK_S / 2
    if reach_s <= 0:
        return order, order[:0]

    embeddings = unit(np.concatenate([taken.embeddings, candidates.embeddings])) if max_distance is not None else None
    drives = defaultdict[str, _Occupied](_Occupied)
    for row, (drive, stamp_s) in enumerate(zip(taken.drives.tolist(), taken.stamps_s.tolist(), strict=True)):
        drives[drive].add(stamp_s, row)

    kept, passed = [], []
    names, stamps_s = candidates.drives.tolist(), candidates.stamps_s.tolist()
    for index in order.tolist():
        occupied, row = drives[names[index]], len(taken) + index
        near = occupied.near(stamps_s[index], reach_s)
        if near and (embeddings is None or max_distance is None or _copies(embeddings, row, near, max_distance)):
            passed.append(index)
        else:
            kept.append(index)
            occupied.add(stamps_s[index], row)
    return np.array(kept, np.intp), np.array(passed, np.intp)


class _Occupied:
    """Stamps of one drive in order, each with its row."""

    def __init__(self) -> None:
        self._stamps_s: list[float] = []
        self._rows: list[int] = []

    def add(self, stamp_s: float, row: int) -> None:
        place = bisect_left(self._stamps_s, stamp_s)
        self._stamps_s.insert(place, stamp_s)
        self._rows.insert(place, row)

    def near(self, stamp_s: float, reach_s: float) -> list[int]:
        """Return the rows whose stamps differ by less than the reach."""
        return self._rows[bisect_right(self._stamps_s, stamp_s - reach_s) : bisect_left(self._stamps_s, stamp_s + reach_s)]


def _copies(embeddings: NDArray[np.float32], row: int, near: list[int], max_distance: float) -> bool:
    """Return whether one of the rows near is a near copy of `row`, or may be. embeddings: (M + N, E), unit rows."""
    mine, theirs = embeddings[row], embeddings[near]
    distance = 1.0 - np.einsum("ne,e->n", theirs, mine)
    return bool(np.any((distance < max_distance) | ~known(theirs)) or not mine.any())
