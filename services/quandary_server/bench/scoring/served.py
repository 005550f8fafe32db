"""What serving costs beyond inference: a replica on a core of its own is asked what it could do, then called by clients."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from quandary_server.bench.figures import Figure, reported
from quandary_server.bench.load import Report, Spec, offered
from quandary_server.bench.progress import Told
from quandary_server.bench.scoring.accounts import ServerProcesses, pinned
from quandary_server.bench.scoring.bars import BARS, held, median
from quandary_server.bench.scoring.probe import measured
from quandary_server.bench.scoring.steps import INFERENCE, SCORING
from quandary_server.bench.scoring_process import ScoringProcess
from quandary_server.detector.settings import NetSettings

PROBED = ("quandary_server.bench.scoring.probed_service",)
PLANNED = NetSettings(side=48)

ROUNDS = 5
PROBE_S, LOAD_S, IDLE_S, WARM_UP_S = 2.0, 4.0, 3.0, 1.0
CALLERS = 3
"""As many as keep a replica busy."""

PATIENT: dict[str, Any] = {"queue_service_times": 1000.0}
"""No call is turned away: what that costs is not meant here."""


@dataclass(frozen=True)
class Served:
    """What one round found for calls of so many crops.

    steps: milliseconds of CPU of a call by step; raw: crops that the sessions alone do in a second of CPU; replica_ms and
    proxy_ms: milliseconds of CPU per call, that of idle processes taken off.
    """

    crops: int
    steps: dict[str, float]
    raw: float
    report: Report
    replica_ms: float
    proxy_ms: float

    @property
    def share(self) -> float:
        """Served crops a second over raw ones."""
        return self.report.per_second * self.crops / self.raw

    @property
    def scoring_share(self) -> float:
        """The same where scoring, reduction included, counts as raw."""
        return self.share * self.steps[SCORING] / self.steps[INFERENCE]

    @property
    def cpu_share(self) -> float:
        """The CPU of raw inference in that of the replica."""
        return self.steps[INFERENCE] / self.replica_ms

    @property
    def overhead_ms(self) -> float:
        """CPU of replica and proxy beyond inference."""
        return self.replica_ms + self.proxy_ms - self.steps[INFERENCE]


class Meter:
    """Calls a service, and tells the CPU that calls take beyond what it takes without."""

    def __init__(self, service: ScoringProcess) -> None:
        replicas = [beat.process for beat in service.replicas()]
        self.spec = Spec(service.target, service.token, LOAD_S, callers=CALLERS)
        self.processes = ServerProcesses(service.process.pid, replicas)
        # the first calls open connections, and what starts a service takes time beside it
        asyncio.run(offered(replace(self.spec, seconds=WARM_UP_S)))
        started, at = self.processes.cpu_s(), time.perf_counter()
        time.sleep(IDLE_S)
        self._idle = [
            (now - then) / (time.perf_counter() - at) for then, now in zip(started, self.processes.cpu_s(), strict=True)
        ]

    def calls(self, spec: Spec) -> tuple[Report, float, float]:
        """Offer the load; return its report and milliseconds of CPU per call, of replicas and of proxies."""
        started, at = self.processes.cpu_s(), time.perf_counter()
        report = asyncio.run(offered(spec))
        took = time.perf_counter() - at
        # each client's first call is in no list
        answered = len(report.attempts) + spec.clients
        replica, proxy = (
            (now - then - idle * took) / answered * 1e3
            for then, now, idle in zip(started, self.processes.cpu_s(), self._idle, strict=True)
        )
        return report, replica, proxy


def serving_figures(told: Told) -> list[Figure]:
    """Return served shares and overheads, for the net that is served and, in the same replica, the one that was planned."""
    found: dict[tuple[int, str], list[Served]] = {}
    nothing: list[float] = []
    with ScoringProcess(PROBED, (PLANNED, NetSettings()), **PATIENT) as service:
        cells = dict(zip(("_at_48", ""), service.generations, strict=True))
        meter = Meter(service)
        with pinned(meter.processes) as alone:
            for seed in range(ROUNDS):
                told("serving", seed, ROUNDS)
                for crops in (16, 64):
                    for suffix, generation in cells.items():
                        spec = replace(meter.spec, crops=crops, seed=seed, generation=generation)
                        found.setdefault((crops, suffix), []).append(_served(meter, spec))
                nothing.append(sum(meter.calls(replace(meter.spec, crops=0))[1:]))
    ordered = sorted(found.items(), key=lambda item: item[0][1])
    figures = [figure for (crops, suffix), rounds in ordered for figure in _figures(crops, suffix, rounds)]
    figures += [
        median("nothing_ms", nothing, "ms of CPU per call without a crop"),
        reported("replica_pinned", float(alone), "1: on a core of its own"),
        *_profile(found[16, ""]),
    ]
    raw = [served.steps[INFERENCE] for served in found[16, ""]]
    ceiling = [inference / (inference + empty) for inference, empty in zip(raw, nothing, strict=True)]
    return [*figures, median("served_share_16_ceiling", ceiling, "ratio, did all but the call and inference cost nothing")]


def _served(meter: Meter, spec: Spec) -> Served:
    found = measured(spec.target, spec.generation, spec.crops, PROBE_S, spec.seed)
    report, replica, proxy = meter.calls(spec)
    return Served(spec.crops, found, found.pop("crops_per_s"), report, replica, proxy)


def _figures(crops: int, suffix: str, rounds: Sequence[Served]) -> list[Figure]:
    share = f"served_share_{crops}"
    shares, overheads = [served.share for served in rounds], [served.overhead_ms for served in rounds]
    figures = [held(share, shares)] if not suffix else [median(share + suffix, shares, "ratio")]
    figures += [
        median(f"{share}_of_scoring{suffix}", [s.scoring_share for s in rounds], "ratio, with reduction as part of raw"),
        median(f"{share}_by_cpu{suffix}", [s.cpu_share for s in rounds], "inference's share of the replica's CPU"),
    ]
    name, unit = f"overhead_ms_{crops}{suffix}", BARS["overhead_ms_16"].unit
    return [*figures, held(name, overheads) if name in BARS else median(name, overheads, unit)]


def _profile(rounds: Sequence[Served]) -> list[Figure]:
    """Return where the CPU of a call of 16 crops goes, in milliseconds; what is left is the event loop, gRPC and Serve."""
    unit = BARS["overhead_ms_16"].unit
    steps = {name: [served.steps[name] for served in rounds] for name in rounds[0].steps if name != SCORING}
    steps["reduction"] = [served.steps[SCORING] - served.steps[INFERENCE] for served in rounds]
    steps["proxy"] = [served.proxy_ms for served in rounds]
    inside = [sum(taken) for taken in zip(*(v for k, v in steps.items() if k != "proxy"), strict=True)]
    steps["rest_of_replica"] = [served.replica_ms - known for served, known in zip(rounds, inside, strict=True)]
    return [median(f"profile_served_{name}", values, unit) for name, values in steps.items()]
