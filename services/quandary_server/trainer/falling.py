"""Whether live figures have fallen since a promotion: a function of what was counted, and of nothing else."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt

import numpy as np
from numpy.typing import NDArray

from quandary_server.evaluation.bootstrap import MIN_GROUPS, grouping, paired_interval
from quandary_server.registry.live import SECONDS, LiveCounts
from quandary_server.settings.promotion import WatchSettings
from quandary_server.trainer.moves import Cause

Array = NDArray[np.float64]

MIN_CROPS = 100
"""A difference of fewer crops is undetermined."""

CERTAIN_SIGMAS = 2.576
"""Of a normal distribution, 99 %."""

BOOTSTRAP_SEED = 0


@dataclass(frozen=True)
class PairedCrops:
    """N newly labelled crops of control drives, as both generations answer them.

    nll, nll_before (N,) in nats; wrong, wrong_before (N,): 1 where the class is wrong, else 0; drives, frames (N,) ids.
    """

    nll: Array
    nll_before: Array
    wrong: Array
    wrong_before: Array
    drives: Sequence[str]
    frames: Sequence[str]

    def __len__(self) -> int:
        return len(self.nll)


@dataclass(frozen=True)
class Fall:
    """What fell, and in words how far."""

    cause: Cause
    reason: str


def fallen(now: LiveCounts, before: LiveCounts, bounds: WatchSettings) -> Fall | None:
    """Return what of the live figures has fallen beyond its bound, None where nothing has or too little is known to tell.

    now, before: what the generation, and the one before it, answered on all replicas.
    """
    return errors_risen(now, before, bounds) or latency_risen(now, before, bounds) or scores_moved(now, before, bounds)


def errors_risen(now: LiveCounts, before: LiveCounts, bounds: WatchSettings) -> Fall | None:
    """Tell whether more answers fail than before, beyond chance: the least share that they may have by what the most was."""
    if now.answers < bounds.min_answers:
        return None
    least = share_interval(now.failures, now.answers)[0]
    most = share_interval(before.failures, before.answers)[1] if before.answers >= bounds.min_answers else 0.0
    if least <= most + bounds.max_more_errors:
        return None
    was = f"{before.failures} of {before.answers} before" if before.answers else "none is known of before"
    return Fall(Cause.ERRORS, f"{now.failures} of {now.answers} answers failed, {was}")


def share_interval(hits: int, count: int) -> tuple[float, float]:
    """Return the 99 % interval of a share (Wilson 1927), of `hits` among `count` >= 1."""
    z2, share = CERTAIN_SIGMAS**2, min(hits / count, 1.0)
    centre = (share + z2 / (2 * count)) / (1 + z2 / count)
    half = CERTAIN_SIGMAS / (1 + z2 / count) * sqrt(share * (1 - share) / count + z2 / (4 * count**2))
    return max(centre - half, 0.0), min(centre + half, 1.0)


def latency_risen(now: LiveCounts, before: LiveCounts, bounds: WatchSettings) -> Fall | None:
    """Tell whether the median answer takes too much longer than before."""
    if min(sum(now.seconds), sum(before.seconds)) < bounds.min_answers:
        return None
    after_s, before_s = median_s(now.seconds), median_s(before.seconds)
    if after_s <= before_s * bounds.max_latency_ratio or after_s - before_s <= bounds.latency_slack.total_seconds():
        return None
    return Fall(Cause.LATENCY, f"the median answer takes {after_s * 1e3:.0f} ms, before {before_s * 1e3:.0f} ms")


def median_s(counts: Sequence[int]) -> float:
    """Return the median of a histogram over SECONDS, in seconds: the upper edge of its bin, the last edge for what is above."""
    above = np.cumsum(counts) * 2 >= sum(counts)
    return float(SECONDS[min(int(above.argmax()), len(SECONDS) - 1)])


def scores_moved(now: LiveCounts, before: LiveCounts, bounds: WatchSettings) -> Fall | None:
    """Tell whether frames are scored quite otherwise than before: by a generation without any disagreement, say."""
    if min(sum(now.scores), sum(before.scores)) < bounds.min_answers:
        return None
    distance = histogram_distance(now.scores, before.scores)
    if distance <= bounds.max_score_distance:
        return None
    return Fall(Cause.SCORES, f"the distance of the live scores from those before is {distance:.2f} (Kolmogorov-Smirnov)")


def histogram_distance(first: Sequence[int], second: Sequence[int]) -> float:
    """Return the largest difference, in [0, 1], of the distribution functions of two histograms over the same bins."""
    ours, theirs = (np.cumsum(counts) / sum(counts) for counts in (first, second))
    return float(np.abs(ours - theirs).max())


def quality_fallen(crops: PairedCrops | None, bounds: WatchSettings) -> Fall | None:
    """Tell whether new control labels are answered worse than by the generation before, in NLL or in class."""
    if crops is None or len(crops) < MIN_CROPS:
        return None
    groups = grouping(crops.drives, crops.frames)
    if len(set(groups)) < MIN_GROUPS:
        return None
    pairs = {"the NLL in nats": (crops.nll, crops.nll_before), "the share of wrong classes": (crops.wrong, crops.wrong_before)}
    for name, (ours, theirs) in pairs.items():
        rng = np.random.default_rng(BOOTSTRAP_SEED)
        low, high = paired_interval(ours - theirs, groups, rng, level=bounds.quality_level)
        if low > 0:
            words = f"{name} on {len(crops)} new control crops is worse by [{low:+.3f}, {high:+.3f}]"
            return Fall(Cause.QUALITY, f"{words} ({bounds.quality_level:.0%})")
    return None
