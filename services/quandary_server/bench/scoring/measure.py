"""CPU per crop of several runs, in ratios of one and the same measurement."""

import time
from collections.abc import Callable, Mapping, Sequence

from quandary_server.frustum.raster import Rasters

ROUNDS = 15

Spent = dict[str, list[float]]
"""Milliseconds of CPU per crop by name, one value per round; rounds are interleaved."""

Run = Callable[[Rasters], object]

BASE = "softmax"
"""What ratios are over."""


def cpu_per_crop(runs: Mapping[str, Run], batches: Sequence[Rasters], rounds: int = ROUNDS) -> Spent:
    """Return the CPU per crop of each run, in milliseconds: one value per round over all batches, rounds interleaved."""
    spent: Spent = {name: [] for name in runs}
    crops = sum(map(len, batches))
    for round_ in range(rounds + 1):
        for name, run in runs.items():
            started = time.process_time()
            for batch in batches:
                run(batch)
            # the first round warms up
            if round_:
                spent[name].append((time.process_time() - started) / crops * 1e3)
    return spent


def over_base(spent: Spent, name: str) -> list[float]:
    """Return the CPU of a run over that of SOFTMAX, round by round."""
    return [mine / softmax for mine, softmax in zip(spent[name], spent[BASE], strict=True)]
