"""Where the CPU of an estimator goes: trunk, heads, and the parts of the reduction."""

from collections.abc import Sequence

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx.utils import Extractor

from quandary.options import Estimator, ScoringOptions
from quandary_server.bench.figures import Figure
from quandary_server.bench.scoring.bars import median
from quandary_server.bench.scoring.measure import BASE, Run, Spent, cpu_per_crop
from quandary_server.bench.scoring.runs import ESTIMATORS, FULL, inference, scoring
from quandary_server.frustum.raster import Rasters
from quandary_server.inference.generation import EVERY_MEMBER, LoadedGeneration
from quandary_server.inference.provider import Provider
from quandary_server.inference.session import INPUTS, OUTPUTS, open_session
from quandary_server.uncertainty.acquisition import scores_without
from quandary_server.uncertainty.entropy import entropy
from quandary_server.uncertainty.summary import summarise

PROFILED = (BASE, "mc20", "full")


def profile_figures(generation: LoadedGeneration, models: Sequence[bytes], batches: Sequence[Rasters]) -> list[Figure]:
    """Return for each estimator the shares of its CPU, which add up to one; models: of the generation's members."""
    trunks = [Trunk(model) for model in models]
    return [figure for name in PROFILED for figure in _shares(name, generation, trunks, batches)]


class Trunk:
    """A member's session up to the embedding: what runs once, however many masks there are."""

    def __init__(self, model: bytes) -> None:
        *inputs, _, _ = INPUTS
        trunk = Extractor(onnx.load_from_string(model)).extract_model(inputs, [OUTPUTS[-1]])
        self._session = open_session(trunk.SerializeToString(), Provider.CPU)

    def run(self, rasters: Rasters) -> NDArray[np.float32]:
        """Return the embedding (D, E)."""
        (embedding,) = self._session.run([OUTPUTS[-1]], {"maps": rasters.maps, "geometry": rasters.geometry})
        return np.asarray(embedding)


def _shares(name: str, generation: LoadedGeneration, trunks: Sequence[Trunk], batches: Sequence[Rasters]) -> list[Figure]:
    parts = parts_of(cpu_per_crop(_runs(ESTIMATORS[name], generation, trunks, batches), batches))
    totals = [sum(taken) for taken in zip(*parts.values(), strict=True)]
    return [
        median(f"profile_{name}_{part}", [mine / total for mine, total in zip(taken, totals, strict=True)], "share of its CPU")
        for part, taken in parts.items()
    ]


def parts_of(spent: Spent) -> Spent:
    """Return the CPU of parts that add up to all of it, from that of runs that each hold what those before them hold."""
    heads = [whole - trunk for whole, trunk in zip(spent["inference"], spent["trunk"], strict=True)]
    laid_out = [drawn - run for drawn, run in zip(spent["draw"], spent["inference"], strict=True)]
    box = [whole - part for whole, part in zip(spent["summary"], spent["entropies"], strict=True)]
    parts = {"trunk": spent["trunk"], "heads": heads, "softmax_and_layout": laid_out, "entropies": spent["entropies"]}
    parts |= {"box": box, "jackknife": spent["jackknife"]}
    rest = [total - sum(known) for total, *known in zip(spent["total"], *parts.values(), strict=True)]
    return parts | {"rest": rest}


def _runs(
    estimator: Estimator, generation: LoadedGeneration, trunks: Sequence[Trunk], batches: Sequence[Rasters]
) -> dict[str, Run]:
    options = ScoringOptions(estimator, mc_samples=FULL.mc_samples)
    scales, seed = np.array(generation.manifest.box_scales), generation.seed(None)
    used = trunks if estimator in EVERY_MEMBER else trunks[:1]
    drawn = {id(batch): generation.draw(batch, estimator, options.mc_samples, seed).samples for batch in batches}
    summaries = {batch: summarise(samples) for batch, samples in drawn.items()}
    return {
        "trunk": lambda rasters: [trunk.run(rasters) for trunk in used],
        "inference": inference(generation, estimator),
        "draw": lambda rasters: generation.draw(rasters, estimator, options.mc_samples, seed),
        "entropies": lambda rasters: entropy(drawn[id(rasters)].probs),
        "summary": lambda rasters: summarise(drawn[id(rasters)]),
        "jackknife": lambda rasters: scores_without(options.effective_acquisition, summaries[id(rasters)], scales),
        "total": scoring(generation, estimator),
    }
