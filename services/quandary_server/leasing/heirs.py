"""Who stands in for a task that ended without labels: the best of the near copies that were folded under it."""

from collections.abc import Collection
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from quandary_server.leasing.order import Place

__all__ = ["Copy", "heirs"]


@dataclass(frozen=True, slots=True)
class Copy:
    """A near copy that waits folded; stamp: of its frame."""

    place: Place
    stamp: datetime


def heirs(stamp: datetime, copies: Collection[Copy]) -> dict[str, str | None]:
    """Return under which frame each copy of a frame taken at `stamp` is folded now, in lease order; None: under none.

    The first in lease order leads, and every further one that is near to nobody before it: no farther in time than the
    farthest copy was from the frame, which is all that is known here of what counts as near.
    """
    reach = max((abs(copy.stamp - stamp) for copy in copies), default=timedelta())
    leaders: list[Copy] = []
    found: dict[str, str | None] = {}
    for copy in sorted(copies, key=lambda copy: replace(copy.place, folded=False).order()):
        near = [leader for leader in leaders if abs(leader.stamp - copy.stamp) <= reach]
        found[copy.place.frame_id] = near[0].place.frame_id if near else None
        if not near:
            leaders.append(copy)
    return found
