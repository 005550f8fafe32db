"""The figures that scoring is held to."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from quandary_server.bench.figures import Figure, at_least, at_most, reported


@dataclass(frozen=True)
class Bar:
    """What a figure says, its unit, and what it is to reach: at most, or else at least, the bound."""

    what: str
    unit: str
    bound: float
    most: bool = True


BARS = {
    "softmax_ms": Bar("SOFTMAX, 16 crops at once, inference and reduction, one thread", "ms of CPU per crop", 0.20),
    "mc20_over_softmax": Bar("MC_DROPOUT of 20 masks over SOFTMAX", "ratio", 1.10),
    "full_over_softmax": Bar("ENSEMBLE_MC_DROPOUT of 5 x 20 over SOFTMAX", "ratio", 5.2),
    "cascade_over_softmax": Bar("ESCALATE over SOFTMAX", "ratio", 2.0),
    "cascade_top_decile": Bar("what ESCALATE keeps of the full top decile", "share of the full top decile", 0.9, most=False),
    "served_share_16": Bar("served over raw inference in the same replica, 5 x 20, 16 crops a call", "ratio", 0.85, most=False),
    "served_share_64": Bar("the same, 64 crops a call", "ratio", 0.91, most=False),
    "overhead_ms_16": Bar("CPU of replica and proxy beyond inference, 16 crops a call", "ms of CPU per call", 2.0),
    "crop_ms_20k": Bar("cropping and rasterising 16 proposals of 20,000 points", "ms of CPU per frame", 2.0),
    "p99_over_p50": Bar("latency of calls at 16 callers, saturated", "ratio", 1.5),
    "overload_p99_ratio": Bar("p99 of accepted calls at three times the load over that of one caller", "ratio", 3.0),
    "replica_mb": Bar("memory of one more replica, two generations loaded", "MB", 220.0),
    "baal_cached_over_mc20": Bar("Baal's layer-cached MC-dropout over ours, same net, 20 masks", "ratio", 5.0, most=False),
}
"""In the order of the README's table."""


def held(name: str, values: Sequence[float], samples: Sequence[object] | None = None) -> Figure:
    """Return the median of the values as a figure that is held to its bar; samples: in place of the values."""
    bar = BARS[name]
    make = at_most if bar.most else at_least
    return make(name, statistics.median(values), bar.unit, bar.bound, values if samples is None else samples)


def median(name: str, values: Sequence[float], unit: str) -> Figure:
    """Return the median of the values as a figure without a bar."""
    return reported(name, statistics.median(values), unit, values)
