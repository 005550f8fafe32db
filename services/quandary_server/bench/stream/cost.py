"""The selector's own CPU per frame, log to queue, with scoring in another process."""

import statistics
from collections.abc import Sequence
from itertools import pairwise

from quandary_server.bench.figures import Figure, at_most, reported
from quandary_server.bench.progress import Told
from quandary_server.bench.stream.records import POINTS, PROPOSALS
from quandary_server.bench.stream.sizes import StreamSizes
from quandary_server.bench.stream.streaming import Look, every, streamed
from quandary_server.storage.log_settings import LogKind

BOUND_MS = 3.0
UNIT = f"ms of CPU per frame, {POINTS} points, {PROPOSALS} proposals"


def cost_figures(told: Told, sizes: StreamSizes, scoring: str) -> list[Figure]:
    """Return what a frame costs a selector that streams a SQLite log: the median over chunks; scoring: what answers."""
    looks = every(streamed(scoring, LogKind.SQLITE, sizes.warm_up + sizes.frames, POINTS, told), sizes.chunk, sizes.warm_up)
    spent = spent_ms(looks)
    return [
        at_most("selector_ms", statistics.median(spent), UNIT, BOUND_MS, rounded(spent)),
        reported("frames_per_second", frames_per_second(looks), "frames/s, one selector beside its scoring on this machine"),
    ]


def mcap_figures(told: Told, sizes: StreamSizes, scoring: str) -> list[Figure]:
    """Return the same where records and clouds lie in MCAP files, chunks compressed by lz4."""
    warm_up = min(sizes.warm_up, sizes.mcap_frames // 3)
    looks = every(streamed(scoring, LogKind.MCAP, warm_up + sizes.mcap_frames, POINTS, told), sizes.chunk, warm_up)
    spent = spent_ms(looks)
    return [
        reported("selector_mcap_ms", statistics.median(spent), f"{UNIT}, inside MCAP files", rounded(spent)),
        reported("mcap_frames_per_second", frames_per_second(looks), "frames/s from MCAP files"),
    ]


def spent_ms(looks: Sequence[Look]) -> list[float]:
    """Return the CPU per frame between looks, in milliseconds. Raises ValueError for fewer than two looks."""
    if len(looks) < 2:
        raise ValueError(f"{len(looks)} looks at the selector, two are needed: stream more frames")
    return [(after.cpu_s - before.cpu_s) / (after.frames - before.frames) * 1e3 for before, after in pairwise(looks)]


def frames_per_second(looks: Sequence[Look]) -> float:
    """Return how many frames came in a second, from the first look to the last."""
    return (looks[-1].frames - looks[0].frames) / (looks[-1].time_s - looks[0].time_s)


def rounded(values: Sequence[float]) -> list[float]:
    """Return values as they are written down."""
    return [round(value, 3) for value in values]
