"""What one more replica holds in memory."""

import asyncio
from collections.abc import Callable
from dataclasses import replace

import psutil

from quandary_server.bench.figures import Figure
from quandary_server.bench.load import Spec, offered
from quandary_server.bench.progress import Told
from quandary_server.bench.scoring.accounts import proportional_mb, resident_mb, unique_mb
from quandary_server.bench.scoring.bars import held, median
from quandary_server.bench.scoring_process import ScoringProcess
from quandary_server.detector.settings import NetSettings

REPLICAS, GENERATIONS = 3, 2
LOAD_S, CALLERS = 6.0, 6


def memory_figures(told: Told) -> list[Figure]:
    """Return the memory of the replicas, each with two generations, after calls of 64 crops to both of them.

    What one more replica costs is what would be free were it to end: beside others, their libraries are there anyway.
    """
    told("memory", 0, 2)
    with ScoringProcess(nets=[NetSettings()] * GENERATIONS, replicas=REPLICAS) as service:
        spec = Spec(service.target, service.token, LOAD_S, callers=CALLERS, clients=CALLERS, crops=64)
        for generation in service.generations:
            asyncio.run(offered(replace(spec, generation=generation)))
        told("memory", 1, 2)
        beats = service.replicas()
        if any(len(beat.resident) != GENERATIONS for beat in beats):
            raise RuntimeError(f"replicas hold {[beat.resident for beat in beats]}, not {GENERATIONS} generations each")
        replicas = [psutil.Process(beat.process) for beat in beats]
        return [
            held("replica_mb", _each(unique_mb, replicas)),
            median("replica_pss_mb", _each(proportional_mb, replicas), "MB, with its share of what others have as well"),
            median("replica_rss_mb", _each(resident_mb, replicas), "MB, with all that others have as well"),
        ]


def _each(memory: Callable[[psutil.Process], float], replicas: list[psutil.Process]) -> list[float]:
    return [memory(replica) for replica in replicas]
