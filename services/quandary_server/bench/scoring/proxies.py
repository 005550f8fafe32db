"""What a call costs through Serve and HAProxy, through Serve's default proxy, and in a plain grpc.aio server."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from quandary.options import Estimator
from quandary_server.bench.figures import Figure
from quandary_server.bench.progress import Told
from quandary_server.bench.scoring.bars import median
from quandary_server.bench.scoring.served import PATIENT, Meter
from quandary_server.bench.scoring_process import SCORING, ScoringProcess

ROUNDS = 3


@dataclass(frozen=True)
class Way:
    """A way for calls to reach the servicer."""

    service: tuple[str, ...] = SCORING
    environment: Mapping[str, str] = field(default_factory=dict)


WAYS = {
    "serve_haproxy": Way(),
    "plain_grpc": Way(("quandary_server.bench.scoring.plain_service",)),
    "serve_default_proxy": Way(environment={"RAY_SERVE_ENABLE_HA_PROXY": "0", "RAY_SERVE_THROUGHPUT_OPTIMIZED": "0"}),
}


def proxy_figures(told: Told) -> list[Figure]:
    """Return the CPU of server and proxy per call, of a call without a crop and of one with 16; and ratios to ours."""
    found: dict[str, list[float]] = {}
    for done, (name, way) in enumerate(WAYS.items()):
        told(f"calls by {name}", done, len(WAYS))
        with ScoringProcess(way.service, environment=way.environment, **PATIENT) as service:
            meter = Meter(service)
            for seed in range(ROUNDS):
                spec = replace(meter.spec, seed=seed, estimator=Estimator.SOFTMAX)
                for call, crops in (("nothing", 0), ("softmax_16", 16)):
                    _, replica, proxy = meter.calls(replace(spec, crops=crops))
                    found.setdefault(f"{name}_{call}_ms", []).append(replica + proxy)
    return [median(f"peer_{name}", values, "ms of CPU per call") for name, values in found.items()]
