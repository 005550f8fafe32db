"""What the spread topology costs over the packed one, for the same calls."""

from dataclasses import replace
from itertools import product
from typing import Any

from quandary.options import Estimator
from quandary_server.bench.figures import Figure
from quandary_server.bench.progress import Told
from quandary_server.bench.scoring.bars import median
from quandary_server.bench.scoring.served import PATIENT, Meter
from quandary_server.bench.scoring_process import MEMBERS, ScoringProcess
from quandary_server.settings import Topology

ROUNDS = 3
CROPS = (1, 16, 64)
ESTIMATORS = (Estimator.SOFTMAX, Estimator.ENSEMBLE_MC_DROPOUT)

SETTINGS: dict[Topology, dict[str, Any]] = {Topology.PACKED: {}, Topology.SPREAD: {"spread": {"members": MEMBERS}}}


def topology_figures(told: Told) -> list[Figure]:
    """Return the CPU of all replicas and the proxy per call, by topology, estimator and crops, and spread's over packed's."""
    spent: dict[tuple[Topology, Estimator, int], list[float]] = {}
    for done, (topology, settings) in enumerate(SETTINGS.items()):
        told(f"calls, {topology.value}", done, len(SETTINGS))
        with ScoringProcess(topology=topology, **settings, **PATIENT) as service:
            meter = Meter(service)
            for seed, estimator, crops in product(range(ROUNDS), ESTIMATORS, CROPS):
                _, replicas, proxy = meter.calls(replace(meter.spec, seed=seed, estimator=estimator, crops=crops))
                spent.setdefault((topology, estimator, crops), []).append(replicas + proxy)
    figures = []
    for estimator, crops in product(ESTIMATORS, CROPS):
        packed, spread = (spent[topology, estimator, crops] for topology in SETTINGS)
        ratios = [more / less for more, less in zip(spread, packed, strict=True)]
        name = f"{estimator.value}_{crops}"
        figures.append(median(f"spread_over_packed_{name}", ratios, "ratio"))
        figures.append(median(f"packed_{name}_ms", packed, "ms of CPU per call"))
        figures.append(median(f"spread_{name}_ms", spread, "ms of CPU per call"))
    return figures
