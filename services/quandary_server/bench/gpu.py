"""quandary bench gpu: draws on a GPU over the CPU's, by the size of a run; requests batched and not; and whether bytes stay the
same. Wall time, for a GPU's work is none of the CPU's: measure on a machine that does nothing else.
"""

import statistics
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from quandary.errors import Unavailable
from quandary.frames import Frame
from quandary.options import Estimator, ScoringOptions
from quandary_server.bench.figures import Figure, at_least, at_most, reported
from quandary_server.bench.frames import cropped_frame
from quandary_server.bench.gpu_load import Load, asked, crops_per_second
from quandary_server.bench.plain_runs import PlainRuns
from quandary_server.bench.progress import Told
from quandary_server.bench.scoring.untrained import register_untrained
from quandary_server.detector.settings import NetSettings
from quandary_server.frustum.raster import Rasters, rasterise
from quandary_server.inference.cuda import cuda_problem, gpu
from quandary_server.inference.device import DEVICE_CROPS, Bound, Host
from quandary_server.inference.generation import LoadedGeneration
from quandary_server.inference.provider import Provider
from quandary_server.inference.scores import score_rasters
from quandary_server.registry.directory import Artefacts, Registry
from quandary_server.scoring.batch import BatchLimit
from quandary_server.scoring.joint import score_jointly

ESTIMATORS = {"softmax": Estimator.SOFTMAX, "full": Estimator.ENSEMBLE_MC_DROPOUT}
LARGEST_DIFFERENCE = 1e-2
"""Of scores, in nats: sums in another order differ in their last bits, and the score takes logarithms of them."""


@dataclass(frozen=True)
class Extent:
    """How much is measured: rounds, draws in each, seconds of requests, crops a request, the nets, and sizes of runs."""

    rounds: int = 7
    draws: int = 20
    seconds: float = 2.0
    crops: tuple[int, ...] = (1, 16)
    members: int = 5
    net: NetSettings = field(default_factory=NetSettings)
    run_sizes: tuple[int, ...] = (64, 256, 512)


def gpu_figures(told: Told = lambda *_: None, provider: Provider = Provider.CUDA, extent: Extent | None = None) -> list[Figure]:
    """Return the figures; raises Unavailable, naming what is missing, where there is no GPU to measure.

    provider: what IO binding binds; tests bind the CPU.
    """
    if provider is Provider.CUDA and (problem := cuda_problem()) is not None:
        raise Unavailable(f"there is no GPU to measure here: {problem}")
    extent = extent or Extent()
    artefacts = _untrained(extent)
    told("draws", 0, 3)
    drawn = _draws(artefacts, provider, extent)
    told("bytes", 1, 3)
    same = _same_bytes(artefacts, provider)
    told("requests", 2, 3)
    return [*_machine(provider), *drawn, *same, *_requests(artefacts, provider, extent)]


def _machine(provider: Provider) -> list[Figure]:
    if provider is not Provider.CUDA:
        return []
    name, size = gpu()
    return [reported("gpu_memory_gib", size / (1 << 30), f"GiB of {name}")]


def _draws(artefacts: Artefacts, provider: Provider, extent: Extent) -> list[Figure]:
    """Return the time of all draws for 64 crops: on the CPU, on the device by size of run, and there without IO binding."""
    crops = _rasters(64, artefacts)
    places = {"cpu": Host(), **{f"gpu_{size}": Bound(size, provider) for size in sorted({DEVICE_CROPS, *extent.run_sizes})}}
    places["gpu_without_binding"] = PlainRuns(DEVICE_CROPS, provider)
    loaded = {name: LoadedGeneration(artefacts, place) for name, place in places.items()}
    runs = {name: _drawing(generation, crops) for name, generation in loaded.items()}
    spent = _interleaved(runs, extent)
    what = "ms for 64 crops, every member x 20 masks"
    figures = [reported(f"draw_ms_{name}", statistics.median(ms), what, ms) for name, ms in spent.items()]
    bound, copied = spent[f"gpu_{DEVICE_CROPS}"], spent["gpu_without_binding"]
    ratios = [mine / other for mine, other in zip(bound, copied, strict=True)]
    return [*figures, at_most("binding_over_copying", statistics.median(ratios), "ratio of time", 1.0, ratios)]


def _same_bytes(artefacts: Artefacts, provider: Provider) -> list[Figure]:
    """Return what share of requests gets the same bytes in company, again, and of other sessions; and how far the CPU's are."""
    options, device = ScoringOptions(), Bound(DEVICE_CROPS, provider)
    first, second = (LoadedGeneration(artefacts, device) for _ in range(2))
    frames = [cropped_frame(1 + seed % 20, seed) for seed in range(32)]
    alone = [answer for frame in frames for answer in _answers(first, options, [frame])]
    ways = {
        "in_company": _answers(first, options, frames),
        "again": [answer for frame in frames for answer in _answers(first, options, [frame])],
        "other_sessions": [answer for frame in frames for answer in _answers(second, options, [frame])],
    }
    shares = {name: _equal_share(found, alone) for name, found in ways.items()}
    ours, theirs = (
        score_rasters(LoadedGeneration(artefacts, place), _rasters(64, artefacts), options).score for place in (device, Host())
    )
    return [
        *(at_least(f"same_bytes_{name}", share, "share of the requests", 1.0) for name, share in shares.items()),
        at_most("score_difference_to_cpu", float(np.abs(ours - theirs).max()), "nats, the largest", LARGEST_DIFFERENCE),
    ]


def _requests(artefacts: Artefacts, provider: Provider, extent: Extent) -> list[Figure]:
    """Return crops a second through the engine at 16 callers, on the CPU, and on the device batched and unbatched."""
    host, device = LoadedGeneration(artefacts, Host()), LoadedGeneration(artefacts, Bound(DEVICE_CROPS, provider))
    limit = BatchLimit(jobs=32, crops=DEVICE_CROPS)
    figures = []
    for crops in extent.crops:
        for name, estimator in ESTIMATORS.items():
            options = ScoringOptions(estimator)
            loads = {
                "cpu_unbatched": Load(host, options, crops, None),
                "cpu_batched": Load(host, options, crops, limit),
                "gpu_unbatched": Load(device, options, crops, None),
                "gpu_batched": Load(device, options, crops, limit),
            }
            figures += _of_loads(f"{name}_{crops}", loads, extent)
    return figures


def _of_loads(name: str, loads: Mapping[str, Load], extent: Extent) -> list[Figure]:
    found: dict[str, list[float]] = {way: [] for way in loads}
    for _ in range(extent.rounds // 3 or 1):
        for way, load in loads.items():
            found[way].append(crops_per_second(load, extent.seconds))
    ratios = [b / u for b, u in zip(found["gpu_batched"], found["gpu_unbatched"], strict=True)]
    return [
        *(reported(f"crops_per_s_{way}_{name}", statistics.median(rates), "crops/s", rates) for way, rates in found.items()),
        at_least(f"batched_over_unbatched_{name}", statistics.median(ratios), "ratio of crops/s", 1.0, ratios),
    ]


def _equal_share(found: Sequence[bytes], others: Sequence[bytes]) -> float:
    return statistics.mean(float(one == other) for one, other in zip(found, others, strict=True))


def _answers(generation: LoadedGeneration, options: ScoringOptions, frames: Sequence[Frame]) -> list[bytes]:
    found = score_jointly(generation, options, [asked(frame, generation, options) for frame in frames])
    answers = []
    for one in found:
        if isinstance(one, Exception):
            raise one
        answers += [result.SerializeToString(deterministic=True) for result in one[0]]
    return answers


def _drawing(generation: LoadedGeneration, crops: Rasters) -> Callable[[], object]:
    return lambda: generation.draw_members(crops, 20, generation.seed(None))


def _interleaved(runs: Mapping[str, Callable[[], object]], extent: Extent) -> dict[str, list[float]]:
    """Return the milliseconds of each run, one mean per round; a first round warms up."""
    spent: dict[str, list[float]] = {name: [] for name in runs}
    for round_ in range(extent.rounds + 1):
        for name, run in runs.items():
            started = time.perf_counter()
            for _ in range(extent.draws):
                run()
            if round_:
                spent[name].append((time.perf_counter() - started) / extent.draws * 1e3)
    return spent


def _rasters(count: int, artefacts: Artefacts) -> Rasters:
    frame = cropped_frame(count)
    boxes = [proposal.box for proposal in frame.proposals]
    return rasterise(frame.crops or [], frame.calibration, boxes, artefacts.manifest.net.side)


def _untrained(extent: Extent) -> Artefacts:
    """Return a generation that was never fitted: what it costs is what a fitted one costs."""
    with tempfile.TemporaryDirectory() as folder:
        registry = Registry(Path(folder))
        return registry.load(register_untrained(registry, extent.members, extent.net))
