"""The query: the order in which scored frames are asked for."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta


@dataclass(frozen=True, slots=True)
class Candidate:
    """A scored frame that waits for a label."""

    frame_id: str
    drive_id: str
    stamp: datetime
    score: float


def spaced_top_k(
    candidates: Sequence[Candidate], k: int, gap: timedelta, taken: Sequence[tuple[str, datetime]] = ()
) -> list[str]:
    """Return up to k ids, best first, no two of one drive closer in time than `gap`: neighbours show the same objects.

    Equal scores go by frame id; a gap of 0 is the plain top k. taken: (drive, stamp) of frames labelled or leased already;
    their neighbours are passed over as well. Where the spacing leaves fewer than k, the best of those passed over fill up, so
    that no frame is lost.
    """
    near: dict[str, list[datetime]] = defaultdict(list)
    for drive, stamp in taken:
        near[drive].append(stamp)

    picked: list[str] = []
    passed: list[str] = []
    for c in sorted(candidates, key=_best_first):
        if len(picked) == k:
            break
        if any(abs(c.stamp - stamp) < gap for stamp in near[c.drive_id]):
            passed.append(c.frame_id)
            continue
        near[c.drive_id].append(c.stamp)
        picked.append(c.frame_id)
    return picked + passed[: k - len(picked)]


def _best_first(candidate: Candidate) -> tuple[float, str]:
    return -candidate.score, candidate.frame_id
