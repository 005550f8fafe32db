"""quandary bench overload: what accepted calls get when three times as many come as can be served, and streams beside them."""

import asyncio
import statistics
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import psutil

from quandary.scoring import DEFAULT_WINDOW
from quandary_server.bench.figures import Figure, at_least, at_most, reported
from quandary_server.bench.load import Report, Spec, offered
from quandary_server.bench.long_stream import StreamSpec, streamed
from quandary_server.bench.progress import Told
from quandary_server.bench.scoring_process import ScoringProcess

ROUNDS = 3
LIGHT_S, FULL_S, OVERLOAD_S = 8.0, 6.0, 10.0
FULL_CALLERS, CALLERS, TIMES = 3, 16, 3.0
OVERLOAD_CALLERS, OVERLOAD_CLIENTS, FLOOD_CLIENTS = 48, 4, 64
TIMEOUT_S = 3.0
OUT_OF_TIME = ("RESOURCE_EXHAUSTED", "DEADLINE_EXCEEDED")

MAX_GROWTH_MB = 16.0
"""A tenth of a replica's memory, and a fiftieth of what 10,000 frames of 85 KB are."""

MAX_P99_OVER_P50, MAX_OVERLOAD_P99, MIN_THROUGHPUT = 1.5, 3.0, 0.9


@dataclass(frozen=True)
class Round:
    """What came of one caller, of as many as keep a replica busy, of 16, and of three times the calls that can be served.

    overload: by 48 callers of 4 clients, of which each waits for its answer; flood: by 64 clients, whatever becomes of the
    calls before. memory_mb: of the replica, afterwards.
    """

    light: Report
    full: Report
    saturated: Report
    overload: Report
    flood: Report
    memory_mb: float

    @property
    def peak(self) -> float:
        """Calls a second that can be served."""
        return max(self.light.per_second, self.full.per_second)


def overload_figures(told: Told) -> list[Figure]:
    """Return the latency figures, and what ten thousand frames through one stream hold in memory."""
    with ScoringProcess() as service:
        (replica,) = service.replicas()
        figures = _latencies(service, psutil.Process(replica.process), told)
        told("streaming", 0, 1)
        stream = streamed(StreamSpec(service.target, service.token, replica.process))
    return [
        *figures,
        at_most("stream_client_growth_mb", stream.growth(stream.client_mb), "MB", MAX_GROWTH_MB, stream.client_mb),
        at_most("stream_replica_growth_mb", stream.growth(stream.replica_mb), "MB", MAX_GROWTH_MB, stream.replica_mb),
        at_most("stream_frames_ahead", float(stream.ahead), "frames", DEFAULT_WINDOW),
    ]


def latency_figures(told: Told) -> list[Figure]:
    """Return what becomes of calls at more and more load, without the stream."""
    with ScoringProcess() as service:
        (replica,) = service.replicas()
        return _latencies(service, psutil.Process(replica.process), told)


def _latencies(service: ScoringProcess, replica: psutil.Process, told: Told) -> list[Figure]:
    """Return medians of rounds in one service of one replica, load from processes of their own.

    p99_over_p50 is of whole calls, from a caller's wish to its answer; the other latencies are of accepted attempts.
    """
    spec = Spec(service.target, service.token, LIGHT_S, callers=1)
    rounds = []
    for seed in range(ROUNDS):
        told("offering load", seed, ROUNDS)
        rounds.append(asyncio.run(_round(replace(spec, seed=seed), replica)))
    return [
        _at_most("p99_over_p50", [_spread(r.saturated.calls) for r in rounds], MAX_P99_OVER_P50),
        _at_most("overload_p99_ratio", [_p99(r.overload) / _p99(r.light) for r in rounds], MAX_OVERLOAD_P99),
        _at_least("overload_throughput", [r.overload.per_second / r.peak for r in rounds], MIN_THROUGHPUT),
        at_most("other_failures", float(sum(_others(r) for r in rounds)), "calls", 0),
        _reported("attempt_p99_over_p50", [_spread(r.saturated.attempts) for r in rounds], "ratio"),
        _reported("saturated_throughput", [r.saturated.per_second / r.peak for r in rounds], "ratio"),
        _reported("overload_refusals", [_refusals(r.overload) for r in rounds], "per answer"),
        _reported("flood_p99_ratio", [_p99(r.flood) / _p99(r.light) for r in rounds], "ratio"),
        _reported("flood_throughput", [r.flood.per_second / r.peak for r in rounds], "ratio"),
        _reported("flood_refusals", [_refusals(r.flood) for r in rounds], "per answer"),
        _reported("peak_calls", [r.peak for r in rounds], "calls/s"),
        _reported("light_p99_ms", [_p99(r.light) * 1e3 for r in rounds], "ms"),
        _reported("overload_p99_ms", [_p99(r.overload) * 1e3 for r in rounds], "ms"),
        reported("memory_growth_mb", rounds[-1].memory_mb - rounds[0].memory_mb, "MB", [r.memory_mb for r in rounds]),
    ]


async def _round(spec: Spec, replica: psutil.Process) -> Round:
    light = await offered(spec)
    full = await offered(replace(spec, seconds=FULL_S, callers=FULL_CALLERS))
    saturated = await offered(replace(spec, seconds=FULL_S, callers=CALLERS))
    rate = TIMES * max(light.per_second, full.per_second)
    thrice = replace(spec, seconds=OVERLOAD_S, rate=rate, timeout_s=TIMEOUT_S)
    overload = await offered(replace(thrice, callers=OVERLOAD_CALLERS, clients=OVERLOAD_CLIENTS))
    flood = await offered(replace(thrice, callers=0, clients=FLOOD_CLIENTS))
    return Round(light, full, saturated, overload, flood, replica.memory_info().rss / 2**20)


def _refusals(report: Report) -> float:
    return report.refused["RESOURCE_EXHAUSTED"] / len(report.calls)


def _others(found: Round) -> int:
    """Return the calls that failed for another reason than that there was no time left for them."""
    patient = sum(report.failed.total() for report in (found.light, found.full, found.saturated))
    hasty = [report.failed - Counter(dict.fromkeys(OUT_OF_TIME, sys.maxsize)) for report in (found.overload, found.flood)]
    return patient + sum(failed.total() for failed in hasty)


def _p99(report: Report) -> float:
    return float(np.percentile(report.attempts, 99))


def _spread(seconds: Sequence[float]) -> float:
    return float(np.percentile(seconds, 99) / np.percentile(seconds, 50))


def _at_most(name: str, ratios: Sequence[float], bound: float) -> Figure:
    return at_most(name, statistics.median(ratios), "ratio", bound, ratios)


def _at_least(name: str, ratios: Sequence[float], bound: float) -> Figure:
    return at_least(name, statistics.median(ratios), "ratio", bound, ratios)


def _reported(name: str, values: Sequence[float], unit: str) -> Figure:
    return reported(name, statistics.median(values), unit, values)
