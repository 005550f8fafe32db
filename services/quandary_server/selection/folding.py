"""Folding: streams repeat themselves, and near copies of what is asked for already wait behind all others."""

from bisect import bisect_left, bisect_right
from collections import defaultdict
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from quandary_server.selection.candidates import Candidates, Taken
from quandary_server.selection.core_set import known, unit
from quandary_server.selection.ranking import Order

TICK_S = 1e-6
"""Stamps are whole microseconds: differences are compared to half of one, so that rounding decides nothing."""


@dataclass(frozen=True, slots=True)
class Nearness:
    """What makes two frames, or crops, of a drive near copies: all of these together.

    gap_s: they are closer in time. gap_m: the car moved less between them; for poses that are not known, and None, it may
    have stood still. max_distance: the cosine distance of their embeddings is below it; an embedding that is not known, and
    None, may be the same.
    """

    gap_s: float
    max_distance: float | None = None
    gap_m: float | None = None


def spaced(order: Order, candidates: Candidates, taken: Taken, nearness: Nearness) -> tuple[Order, Order]:
    """Split an order (K,) into those apart from each other and those passed over, both in that order.

    Passed over is whoever is a near copy of one that is taken or kept before it. Crops of one frame have one stamp: only
    embeddings tell them apart. A gap of 0 s keeps all.
    """
    if nearness.gap_s <= TICK_S / 2:
        return order, order[:0]

    frames = _Frames(candidates, taken, nearness)
    for row in range(len(taken)):
        frames.occupy(row)
    kept, passed = [], []
    for index in order.tolist():
        row = len(taken) + index
        if len(frames.copies(row)):
            passed.append(index)
        else:
            kept.append(index)
            frames.occupy(row)
    return np.array(kept, np.intp), np.array(passed, np.intp)


def siblings(picks: Order, candidates: Candidates, taken: Taken, nearness: Nearness) -> NDArray[np.intp]:
    """Return under which frame each candidate (N,) is folded: a row of the taken (M,) and then the candidates, -1 for none.

    Folded is whoever is not picked and a near copy of a pick or of one that is taken; under the nearest of them in time, and of
    equally near ones the first of the taken and then of the picks. A gap of 0 s folds none.
    """
    under = np.full(len(candidates), -1, np.intp)
    if nearness.gap_s <= TICK_S / 2:
        return under
    frames = _Frames(candidates, taken, nearness)
    best = [*range(len(taken)), *(len(taken) + picks).tolist()]
    for row in best:
        frames.occupy(row)
    place = {row: number for number, row in enumerate(best)}
    for index in range(len(candidates)):
        row = len(taken) + index
        if row not in place and len(copies := frames.copies(row)):
            under[index] = min(copies, key=lambda other: (frames.ticks(row, other), place[other]))
    return under


class _Frames:
    """The taken and then the candidates as rows, and which of them are in the way of others."""

    def __init__(self, candidates: Candidates, taken: Taken, nearness: Nearness) -> None:
        self._nearness, self._reach_s = nearness, nearness.gap_s - TICK_S / 2
        self._drives = [*taken.drives.tolist(), *candidates.drives.tolist()]
        self._stamps_s = [*taken.stamps_s.tolist(), *candidates.stamps_s.tolist()]
        self._occupied = defaultdict[str, _Occupied](_Occupied)
        if nearness.max_distance is not None:
            self._embeddings = unit(np.concatenate([taken.embeddings, candidates.embeddings]))
        if nearness.gap_m is not None:
            self._positions_m = np.concatenate([_positions_m(taken), _positions_m(candidates)])

    def occupy(self, row: int) -> None:
        """Put a row in the way of its near copies."""
        self._occupied[self._drives[row]].add(self._stamps_s[row], row)

    def copies(self, row: int) -> list[int]:
        """Return the rows in the way of this one."""
        near = self._occupied[self._drives[row]].near(self._stamps_s[row], self._reach_s)
        if near and self._nearness.max_distance is not None:
            near = _alike(self._embeddings, row, near, self._nearness.max_distance)
        if near and self._nearness.gap_m is not None:
            moved_m = np.linalg.norm(self._positions_m[near] - self._positions_m[row], axis=1)
            near = [other for other, far in zip(near, moved_m >= self._nearness.gap_m, strict=True) if not far]
        return near

    def ticks(self, row: int, other: int) -> int:
        """Return how far apart two rows are in time, in whole ticks: rounding decides nothing."""
        apart_s: float = abs(self._stamps_s[row] - self._stamps_s[other])
        return round(apart_s / TICK_S)


def _positions_m(frames: Candidates | Taken) -> NDArray[np.float64]:
    # what is not known compares as not far
    return np.full((len(frames), 3), np.nan) if frames.positions_m is None else frames.positions_m


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


def _alike(embeddings: NDArray[np.float32], row: int, others: list[int], max_distance: float) -> list[int]:
    """Return those of the others that look like `row`, or may. embeddings: (M + N, E), unit rows."""
    mine, theirs = embeddings[row], embeddings[others]
    if not mine.any():
        return others
    distance = 1.0 - np.einsum("ne,e->n", theirs, mine)
    alike = (distance < max_distance) | ~known(theirs)
    return [other for other, found in zip(others, alike.tolist(), strict=True) if found]
