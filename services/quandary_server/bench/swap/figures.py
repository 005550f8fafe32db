"""What callers see of swaps, in both topologies."""

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from quandary_server.bench.figures import Figure, at_least, at_most, reported
from quandary_server.bench.progress import Told as Progress
from quandary_server.bench.scoring.served import PATIENT
from quandary_server.bench.scoring_process import MEMBERS, ScoringProcess
from quandary_server.bench.swap.callers import CallersProcess, Report, Spec, frames
from quandary_server.bench.swap.expected import expected_digests
from quandary_server.bench.swap.sizes import Sizes, Window
from quandary_server.bench.swap.windows import Swapper, Told
from quandary_server.detector.settings import NetSettings
from quandary_server.scoring.ingress import limits_of
from quandary_server.settings import Topology

DELAYED = ("quandary_server.bench.swap.delayed_service",)
NETS = (NetSettings(),) * 5
REPLICAS = 2
WARM_UP_S = 3.0
SETTINGS: dict[Topology, dict[str, Any]] = {Topology.PACKED: {}, Topology.SPREAD: {"spread": {"members": MEMBERS}}}

MAX_P99_RATIO, MAX_LONGEST_RATIO, MAX_ROLLBACK_S = 1.1, 1.3, 1.0


@dataclass(frozen=True)
class Seen:
    """What callers saw in one topology, and what was done meanwhile."""

    report: Report
    told: Told

    def answers(self, swapping: bool, windows: Sequence[Window]) -> list[list[float]]:
        """Return the seconds that answers took, window by window of one kind."""
        begun, took = np.array(self.report.begun), np.array(self.report.took)
        chosen = [window for window in windows if window.swapping is swapping]
        return [took[(begun >= w.begun) & (begun < w.ended)].tolist() for w in chosen]

    def stale(self) -> list[tuple[float, str, str]]:
        """Return the answers asked for after all replicas answered with one generation that name another.

        Each by the seconds since all did, the generation that they did answer with, and the one that it names.
        """
        asked = list(zip(self.report.begun, self.report.named, strict=True))
        spans = self.told.settled
        return [(at - a, held, named) for a, b, held in spans for at, named in asked if a <= at < b and named != held]


def swap_figures(told: Progress, sizes: Sizes) -> list[Figure]:
    """Return the figures of both topologies, the worse of the two first."""
    seen = {topology: _measured(topology, told, sizes) for topology in SETTINGS}
    every = list(seen.values())
    answers = [len(s.report.took) for s in every]
    failed = [s.report.failed.total() for s in every]
    mixed = [s.report.mixed + s.report.unnamed for s in every]
    stale = [s.stale() for s in every]
    back_s = [took for s in every for took in s.told.back_s]
    promoted_s = [took for s in every for took in s.told.promoted_s]
    p99 = {topology: ratios(s, lambda took: float(np.percentile(took, 99))) for topology, s in seen.items()}
    longest = {topology: ratios(s, max) for topology, s in seen.items()}
    return [
        at_most("failed", float(sum(failed)), "answers", 0, [dict(s.report.failed) for s in every]),
        at_most("mixed", float(sum(mixed)), "answers", 0, mixed),
        at_least("answers", float(sum(answers)), "answers", sizes.answers, answers),
        _worst("swap_p99_ratio", p99, MAX_P99_RATIO),
        _worst("swap_max_ratio", longest, MAX_LONGEST_RATIO),
        at_most("rollback_s", max(back_s), "s, the longest", MAX_ROLLBACK_S, back_s),
        at_most("stale", float(sum(len(s) for s in stale)), "answers", 0, stale),
        reported("promotions", float(len(promoted_s)), "promotions", promoted_s),
        reported("promote_s", statistics.median(promoted_s), "s", promoted_s),
        reported("rollback_median_s", statistics.median(back_s), "s", back_s),
        *(f for topology, s in seen.items() for f in _latencies(topology, s)),
    ]


@dataclass(frozen=True)
class Ratio:
    """A figure of the answers while swapping over the same without, of medians over windows; samples: both of each pair."""

    value: float
    samples: list[tuple[float, float]]


def ratios(seen: Seen, figure: Any) -> Ratio:
    """Return the median figure of the windows with swaps over that of those without."""
    swapped, null = ([figure(took) for took in seen.answers(kind, seen.told.windows)] for kind in (True, False))
    return Ratio(statistics.median(swapped) / statistics.median(null), list(zip(swapped, null, strict=True)))


def _worst(name: str, found: dict[Topology, Ratio], bound: float) -> Figure:
    samples = [{"topology": topology.value, "ratio": r.value, "pairs_s": r.samples} for topology, r in found.items()]
    return at_most(name, max(r.value for r in found.values()), "ratio, the worse topology", bound, samples)


def _latencies(topology: Topology, seen: Seen) -> list[Figure]:
    figures = []
    for kind, swapping in (("null", False), ("swap", True)):
        took = [np.array(window) * 1e3 for window in seen.answers(swapping, seen.told.windows)]
        for name, share in (("p50", 50), ("p99", 99), ("max", 100)):
            values = [float(np.percentile(window, share)) for window in took]
            figures.append(reported(f"{topology.value}_{kind}_{name}_ms", statistics.median(values), "ms", values))
    return figures


def _measured(topology: Topology, told: Progress, sizes: Sizes) -> Seen:
    told(f"starting, {topology.value}", 0, sizes.repeats)
    with ScoringProcess(DELAYED, NETS, topology=topology, replicas=REPLICAS, **SETTINGS[topology], **PATIENT) as service:
        limits = limits_of(service.settings.scoring)
        expected = expected_digests(service.registry, service.generations, frames(), limits)
        *others, current = service.generations
        swapper = Swapper(service.registry, [current, *others])
        rate = sizes.packed_rate if topology is Topology.PACKED else sizes.spread_rate
        with CallersProcess(Spec(service.target, service.token, rate, expected)) as callers:
            time.sleep(WARM_UP_S)
            for pair in range(sizes.repeats):
                told(f"swapping, {topology.value}", pair, sizes.repeats)
                swapper.windows(sizes, pair)
            swapper.end()
    return Seen(callers.report, swapper.told)
