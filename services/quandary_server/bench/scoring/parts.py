"""The parts of `quandary bench scoring`, each of which can be run alone."""

from collections.abc import Callable, Sequence
from enum import StrEnum
from pathlib import Path

from quandary_server.bench.figures import Figure
from quandary_server.bench.progress import Told


class Part(StrEnum):
    """What can be measured by itself."""

    ESTIMATORS = "estimators"
    CROPS = "crops"
    SERVING = "serving"
    PROXIES = "proxies"
    TOPOLOGIES = "topologies"
    OVERLOAD = "overload"
    MEMORY = "memory"
    PEERS = "peers"
    BAAL = "baal"


def scoring_figures(
    told: Told, parts: Sequence[Part], environment: Path | None, failed: Callable[[Part, Exception], None]
) -> list[Figure]:
    """Return the figures of the parts, in the order of `Part`.

    environment: the folder of Baal's environment, None for the usual one. failed: told of a part that ended in an error, whose
    figures are left out; the others take minutes and go on.
    """
    from quandary_server.bench.scoring.allocation import allocate_as_served

    allocate_as_served()
    figures: list[Figure] = []
    for part in Part:
        if part in parts:
            try:
                figures += _measure(part, environment)(told)
            except Exception as error:
                failed(part, error)
    return figures


def _measure(part: Part, environment: Path | None) -> Callable[[Told], list[Figure]]:
    # what a part needs is imported with it: torch, Ray and processes of their own
    if part is Part.ESTIMATORS:
        from quandary_server.bench.scoring.estimators import estimator_figures as measure
    elif part is Part.CROPS:
        from quandary_server.bench.scoring.crops import crop_figures as measure
    elif part is Part.SERVING:
        from quandary_server.bench.scoring.served import serving_figures as measure
    elif part is Part.PROXIES:
        from quandary_server.bench.scoring.proxies import proxy_figures as measure
    elif part is Part.TOPOLOGIES:
        from quandary_server.bench.scoring.topologies import topology_figures as measure
    elif part is Part.OVERLOAD:
        from quandary_server.bench.overload import latency_figures as measure
    elif part is Part.MEMORY:
        from quandary_server.bench.scoring.memory import memory_figures as measure
    elif part is Part.PEERS:
        from quandary_server.bench.scoring.peers import peer_figures as measure
    else:
        from quandary_server.bench.scoring.baal_peer import default_folder
        from quandary_server.bench.scoring.peers import baal_figures

        return lambda told: baal_figures(told, environment or default_folder())
    return measure
