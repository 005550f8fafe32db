"""From rasterised crops to output tensors, in the compute thread."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from quandary.errors import NonFiniteOutput
from quandary.options import ScoringOptions
from quandary_server.inference.generation import Generation, sample_count
from quandary_server.inference.object_scores import ObjectScores
from quandary_server.inference.scores import score_rasters
from quandary_server.scoring.engine import MAX_DRAWS, Work
from quandary_server.scoring.open_inference.inputs import CropTensors, slice_rasters
from quandary_server.scoring.open_inference.outputs import STANDARD_ERROR, Output
from quandary_server.wire.inference_parameters import parameter
from quandary_server.wire.inference_tensors import write_output
from quandary_server.wire.inference_v2 import open_inference_pb2 as protocol


@dataclass(frozen=True)
class Inference:
    """What is to be computed: by which generation, how, of what, and what is answered of it."""

    generation: Generation
    options: ScoringOptions
    crops: CropTensors
    outputs: Sequence[Output]


def infer(request: protocol.ModelInferRequest, inference: Inference) -> tuple[protocol.ModelInferResponse, Work]:
    """Return the response to a request, its contents raw if the request's are, and what it took.

    Raises InvalidArgument for input values out of bounds, NonFiniteOutput where a crop has no usable answer.
    """
    started = time.perf_counter()
    parts = [[output.values(scores) for output in inference.outputs] for scores in _scores(inference)]
    response = protocol.ModelInferResponse(
        model_name=request.model_name, model_version=inference.generation.id, id=request.id, parameters=_told(inference)
    )
    for output, *values in zip(inference.outputs, *parts, strict=True):
        write_output(response, output.name, output.datatype, np.concatenate(values), raw=bool(request.raw_input_contents))
    return response, Work(len(inference.crops), 0, 0, time.perf_counter() - started)


def _scores(inference: Inference) -> Iterator[ObjectScores]:
    """Yield the scores of all crops, so many at a time as may be drawn at once."""
    generation, options, rasters = inference.generation, inference.options, inference.crops.rasters()
    jackknife = any(output.name == STANDARD_ERROR for output in inference.outputs)
    step = MAX_DRAWS // sample_count(options, generation.members)
    for start in range(0, len(rasters), step):
        scores = score_rasters(generation, slice_rasters(rasters, slice(start, start + step)), options, jackknife=jackknife)
        broken = np.flatnonzero(~scores.usable)
        if len(broken):
            raise NonFiniteOutput(f"the detector's output for crop {start + broken[0]} is not finite or out of range")
        yield scores


def _told(inference: Inference) -> dict[str, protocol.InferParameter]:
    """Return how it was scored, as FrameScore tells it."""
    options, generation = inference.options, inference.generation
    told: dict[str, int | str] = {
        "estimator": options.estimator.value,
        "acquisition": options.effective_acquisition.value,
        "samples": sample_count(options, generation.members),
        "seed": generation.seed(options.seed),
    }
    return {name: parameter(value) for name, value in told.items()}
