"""What a selector holds while a hundred thousand frames stream through it."""

import statistics
from collections.abc import Sequence

from quandary_server.bench.figures import Figure, at_most, reported
from quandary_server.bench.progress import Told
from quandary_server.bench.stream.cost import frames_per_second, rounded, spent_ms
from quandary_server.bench.stream.records import PROPOSALS, SMALL_POINTS
from quandary_server.bench.stream.sizes import StreamSizes
from quandary_server.bench.stream.streaming import Look, every, streamed
from quandary_server.storage.log_settings import LogKind

BOUND_MB = 5.0
FRAMES = 100_000
LOOKS = 100
SHOWN = 20


def memory_figures(told: Told, sizes: StreamSizes, scoring: str) -> list[Figure]:
    """Return by how much the resident memory of a selector grows over 100,000 frames, after warm-up.

    Clouds are small, since they are let go of with their frame; records, answers and rows are as large as ever.
    """
    looks = streamed(scoring, LogKind.SQLITE, sizes.long_warm_up + sizes.long, SMALL_POINTS, told)
    return figures_of(every(looks, max(sizes.long // LOOKS, 1), sizes.long_warm_up))


def figures_of(looks: Sequence[Look]) -> list[Figure]:
    """Return what looks tell of memory, and of how the cost of a frame goes on.

    What counts is the slope of a least-squares line, in which all looks have a say: the end minus the start is the noise of two
    looks, and is told beside it.
    """
    resident = [look.resident_mb for look in looks]
    told_of = f"{looks[-1].frames - looks[0].frames} streamed, {SMALL_POINTS} points, {PROPOSALS} proposals"
    shown = [[look.frames, round(look.resident_mb, 2)] for look in looks[:: max(len(looks) // SHOWN, 1)]]
    return [
        at_most("memory_slope_mb", slope_mb(looks), f"MB per {FRAMES} frames, by least squares; {told_of}", BOUND_MB, shown),
        reported("memory_end_mb", resident[-1] - resident[0], "MB, the end minus the start"),
        reported("memory_resident_mb", statistics.median(resident), "MB"),
        *_pace(looks),
    ]


def slope_mb(looks: Sequence[Look]) -> float:
    """Return the slope of the resident memory in MB per 100,000 frames."""
    return statistics.linear_regression([look.frames for look in looks], [look.resident_mb for look in looks]).slope * FRAMES


def _pace(looks: Sequence[Look]) -> list[Figure]:
    """Return whether a frame costs more the more tasks wait."""
    spent = spent_ms(looks)
    few = max(len(spent) // 10, 1)
    return [
        reported("long_frames_per_second", frames_per_second(looks), "frames/s"),
        reported("long_ms", statistics.median(spent), "ms of CPU per frame", rounded(spent[:: max(len(spent) // SHOWN, 1)])),
        reported(
            "long_ms_growth",
            statistics.median(spent[-few:]) / statistics.median(spent[:few]),
            "CPU per frame in the last tenth over that in the first",
        ),
    ]
