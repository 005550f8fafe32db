"""What others take for MC-dropout of 20 masks with the same net and crops: a loop in torch, ONNX Runtime alone, Baal."""

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor

from quandary.options import Estimator, ScoringOptions
from quandary_server.bench.figures import Figure
from quandary_server.bench.frames import cropped_frame
from quandary_server.bench.progress import Told
from quandary_server.bench.scoring.baal_peer import KINDS, baal_rounds, prepare_environment
from quandary_server.bench.scoring.bars import BARS, held, median
from quandary_server.bench.scoring.measure import ROUNDS, Run, Spent, cpu_per_crop
from quandary_server.bench.scoring.untrained import untrained_generation, untrained_net
from quandary_server.detector.net import FrustumNet
from quandary_server.detector.settings import NetSettings
from quandary_server.frustum.raster import Rasters, rasterise
from quandary_server.inference.scores import score_rasters

CROPS, BATCHES, SAMPLES = 16, 6, 20
OURS = "ours"
UNIT = BARS["softmax_ms"].unit


def peer_figures(told: Told) -> list[Figure]:
    """Return the CPU per crop of 20 passes in torch and of the sessions alone, each over ours."""
    told("peers", 0, 1)
    net = untrained_net(0, NetSettings())
    with one_thread():
        spent = cpu_per_crop({**ours(), "naive_torch": naive(net)}, batches())
    return [median("mc20_ours_ms", spent[OURS], UNIT), *_ratios(spent, ("naive_torch", "raw_onnx"))]


def baal_figures(told: Told, environment: Path) -> list[Figure]:
    """Return the CPU per crop of Baal over ours, with its layer cache and without, rounds interleaved.

    environment: the folder of Baal's environment, made where it is missing. Raises Unavailable where Baal cannot be had.
    """
    told("making an environment for Baal", 0, 2)
    python = prepare_environment(environment)
    told("Baal", 1, 2)
    spent: Spent = {}
    runs, crops = ours(), batches()
    net = untrained_net(0, NetSettings())
    with (
        one_thread(),
        tempfile.TemporaryDirectory() as folder,
        baal_rounds(python, net, crops, SAMPLES, Path(folder)) as measure,
    ):
        for _ in range(ROUNDS):
            round_ = cpu_per_crop(runs, crops, rounds=1) | {name: [measure(kind)] for name, kind in KINDS.items()}
            for name, values in round_.items():
                spent.setdefault(name, []).extend(values)
    return _ratios(spent, tuple(KINDS))


def ours() -> dict[str, Run]:
    """Return MC-dropout by our own code, and its sessions alone."""
    generation = untrained_generation(NetSettings(), members=1)
    options, seed = ScoringOptions(Estimator.MC_DROPOUT, mc_samples=SAMPLES), generation.seed(None)
    return {
        OURS: lambda rasters: score_rasters(generation, rasters, options),
        "raw_onnx": lambda rasters: generation.draw_first(rasters, SAMPLES, seed),
    }


def naive(net: FrustumNet) -> Callable[[Rasters], tuple[Tensor, ...]]:
    """Return as many passes through the whole net as there are masks, and the means and variances of what comes out."""
    dropout, widths = net.settings.dropout, (net.settings.embedding, net.settings.hidden)

    def run(rasters: Rasters) -> tuple[Tensor, ...]:
        maps, geometry = torch.from_numpy(rasters.maps), torch.from_numpy(rasters.geometry)
        passes = []
        with torch.inference_mode():
            for _ in range(SAMPLES):
                masks = [torch.bernoulli(torch.full((1, width), 1 - dropout)) / (1 - dropout) for width in widths]
                logits, box, log_variance, _ = net(maps, geometry, *masks)
                passes.append((logits[0].softmax(dim=-1), box[0], log_variance[0].exp()))
            probs, boxes, variances = (torch.stack(drawn) for drawn in zip(*passes, strict=True))
            return probs.mean(dim=0), boxes.mean(dim=0), boxes.var(dim=0), variances.mean(dim=0)

    return run


def batches() -> list[Rasters]:
    """Return batches of crops of random points."""
    return [_batch(seed) for seed in range(BATCHES)]


@contextmanager
def one_thread() -> Iterator[None]:
    """Keep torch to one thread while the body runs."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _batch(seed: int) -> Rasters:
    frame = cropped_frame(CROPS, seed)
    return rasterise(frame.crops or [], frame.calibration, [proposal.box for proposal in frame.proposals])


def _ratios(spent: Spent, names: tuple[str, ...]) -> list[Figure]:
    figures = []
    for name in names:
        over = [theirs / mine for theirs, mine in zip(spent[name], spent[OURS], strict=True)]
        ratio = f"{name}_over_mc20"
        figures += [
            held(ratio, over) if ratio in BARS else median(f"peer_{ratio}", over, "ratio"),
            median(f"peer_{name}_ms", spent[name], UNIT),
        ]
    return figures
