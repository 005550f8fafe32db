"""Whose turn it is among the priority bands: the first that waits, unless a lower one was passed over too often."""

from collections.abc import Mapping
from dataclasses import dataclass

from quandary_server.leasing.order import PriorityBand

__all__ = ["PASSED_OVER_AT_MOST", "Turn", "turns"]

PASSED_OVER_AT_MOST = 4


@dataclass(frozen=True, slots=True)
class Turn:
    """A band that gets the next lease; passed_over: how often it had been passed over, where it gets it for that."""

    band: PriorityBand
    passed_over: int = 0


def turns(
    waiting: Mapping[PriorityBand, int], passed_over: Mapping[PriorityBand, int], count: int, at_most: int
) -> tuple[list[Turn], dict[PriorityBand, int]]:
    """Return the bands that get the next `count` leases, one by one, and how often each band is passed over then.

    waiting: tasks that wait, by band. passed_over: leases that went to higher bands since a band, while it waited, had its
    last beside another. A band that was passed over `at_most` times gets the next lease, the one passed over most first, the
    higher of equals; else the highest that waits gets it. So with two bands the lower has one lease of at_most + 1, with three
    each lower one has one of at_most + 2, and none is passed over more than at_most + 1 times in a row. What a band gets while
    it waits alone counts for nothing.
    """
    left = {band: waiting[band] for band in sorted(waiting) if waiting[band] > 0}
    passed = {band: passed_over.get(band, 0) for band in PriorityBand}
    found: list[Turn] = []
    while left and len(found) < count:
        turn = _next(list(left), passed, at_most)
        found.append(turn)
        if len(left) > 1:
            passed[turn.band] = 0
            for band in left:
                passed[band] += band > turn.band
        left[turn.band] -= 1
        if not left[turn.band]:
            del left[turn.band]
    return found, passed


def _next(waiting: list[PriorityBand], passed: Mapping[PriorityBand, int], at_most: int) -> Turn:
    due = [band for band in waiting if passed[band] >= at_most]
    if not due or len(waiting) == 1:
        return Turn(waiting[0])
    band = max(due, key=lambda band: (passed[band], -band))
    return Turn(band, passed[band])
