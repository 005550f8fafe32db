"""From rasterised crops to output tensors, in parts that take turns in the compute thread."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quandary.errors import NonFiniteOutput
from quandary.options import ScoringOptions
from quandary_server.frustum.raster import Rasters
from quandary_server.inference.generation import Generation, sample_count
from quandary_server.inference.object_scores import ObjectScores
from quandary_server.scoring.cost import load_of_crops
from quandary_server.scoring.engine import crops_per_part, scored_together
from quandary_server.scoring.open_inference.inputs import CropTensors, slice_rasters
from quandary_server.scoring.open_inference.outputs import STANDARD_ERROR, Output
from quandary_server.scoring.schedule import Part
from quandary_server.scoring.work import Work
from quandary_server.wire.inference_parameters import parameter
from quandary_server.wire.inference_tensors import write_output
from quandary_server.wire.inference_v2 import open_inference_pb2 as protocol


class Inference:
    """One request on its way: its parts, run one after the other, read it, score its crops and write `response`."""

    def __init__(
        self,
        request: protocol.ModelInferRequest,
        generation: Generation,
        options: ScoringOptions,
        crops: CropTensors,
        outputs: Sequence[Output],
    ) -> None:
        self._request, self._generation, self._options = request, generation, options
        self._crops, self._outputs = crops, outputs
        self._values: list[list[NDArray[Any]]] = []
        self.response = protocol.ModelInferResponse()

    def parts(self) -> list[Part[tuple[None, Work]]]:
        """Return the parts. The response's contents are raw if the request's are.

        They raise InvalidArgument for input values out of bounds, NonFiniteOutput where a crop has no usable answer.
        """
        members = self._generation.members
        rows, step = len(self._crops), crops_per_part(self._options, members)
        slices = [slice(start, min(start + step, rows)) for start in range(0, rows, step)]
        loads = [load_of_crops(part.stop - part.start, self._options, members) for part in slices]
        jackknife = any(output.name == STANDARD_ERROR for output in self._outputs)
        source = ("tensors", self._request.model_name)
        scored = [
            Part(
                scored_together(source, self._generation, self._options, _Rows(self, part), load.crops, jackknife=jackknife),
                load,
            )
            for part, load in zip(slices, loads, strict=True)
        ]
        return [*scored, Part(self._answer, load_of_crops(0, self._options, members), lambda _: False)]

    @cached_property
    def _rasters(self) -> Rasters:
        return self._crops.rasters()

    def rasters(self, part: slice) -> Rasters:
        """Return the rasters of some crops; raises InvalidArgument for input values out of bounds."""
        return slice_rasters(self._rasters, part)

    def take(self, part: slice, scores: ObjectScores) -> None:
        """Take the scores of the crops that follow; raises NonFiniteOutput where one has no usable answer."""
        broken = np.flatnonzero(~scores.usable)
        if len(broken):
            raise NonFiniteOutput(f"the detector's output for crop {part.start + broken[0]} is not finite or out of range")
        self._values.append([output.values(scores) for output in self._outputs])

    def _answer(self) -> tuple[None, Work]:
        started, request = time.perf_counter(), self._request
        self.response = response = protocol.ModelInferResponse(
            model_name=request.model_name,
            model_version=self._generation.id,
            id=request.id,
            parameters=_told(self._generation, self._options),
        )
        for output, *values in zip(self._outputs, *self._values, strict=True):
            write_output(response, output.name, output.datatype, np.concatenate(values), raw=bool(request.raw_input_contents))
        return None, Work(seconds=time.perf_counter() - started)


@dataclass(frozen=True)
class _Rows:
    """Some crops of a request."""

    inference: Inference
    part: slice

    def rasters(self) -> Rasters:
        return self.inference.rasters(self.part)

    def answer(self, scores: ObjectScores | None) -> tuple[None, Work]:
        if scores is None:
            return None, Work()
        self.inference.take(self.part, scores)
        return None, Work(crops=len(scores), escalated=scores.escalated_count)


def _told(generation: Generation, options: ScoringOptions) -> dict[str, protocol.InferParameter]:
    """Return how it was scored, as FrameScore tells it."""
    told: dict[str, int | str] = {
        "estimator": options.estimator.value,
        "acquisition": options.effective_acquisition.value,
        "samples": sample_count(options, generation.members),
        "seed": generation.seed(options.seed),
    }
    return {name: parameter(value) for name, value in told.items()}
