"""What the models answer: figures of each crop, the same as ScoreFrames gives its objects."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quandary.errors import InvalidArgument, MeaninglessRequest
from quandary_server.frustum.anchor import BOX_PARAMETERS
from quandary_server.inference.object_scores import ObjectScores
from quandary_server.registry.manifest import Manifest
from quandary_server.scoring.open_inference.models import ESCALATE, Model
from quandary_server.uncertainty.jackknife import standard_error
from quandary_server.wire.inference_tensors import VARIES, TensorSpec
from quandary_server.wire.inference_v2 import open_inference_pb2 as protocol

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Output:
    """An output: name, data type, extents of a crop's part, how it is read, and the samples that it takes to mean anything."""

    name: str
    datatype: str
    extents: Callable[[Manifest], tuple[int, ...]]
    values: Callable[[ObjectScores], NDArray[Any]]
    least_samples: int = 1

    def spec(self, manifest: Manifest) -> TensorSpec:
        """Return what it is for a generation."""
        return TensorSpec(self.name, self.datatype, (VARIES, *self.extents(manifest)))


def _one(_: Manifest) -> tuple[int, ...]:
    return ()


def _parameters(_: Manifest) -> tuple[int, ...]:
    return (len(BOX_PARAMETERS),)


def _boxes(scores: ObjectScores) -> Array:
    boxes = [(*box.centre, *box.extents, box.yaw_rad) for box in scores.boxes()]
    return np.array(boxes, np.float64).reshape(len(scores), len(BOX_PARAMETERS))


def _standard_error(scores: ObjectScores) -> Array:
    if scores.score_without is None:
        raise ValueError("the standard error needs the scores without each sample")
    return standard_error(scores.score_without)


def _escalated(scores: ObjectScores) -> NDArray[np.bool_]:
    if scores.escalated is None:
        raise ValueError("only the scores of ESCALATE tell which crops escalated")
    return scores.escalated


STANDARD_ERROR = "score_standard_error"

OUTPUTS: tuple[Output, ...] = (
    Output("score", "FP64", _one, lambda scores: scores.score),
    Output(STANDARD_ERROR, "FP64", _one, _standard_error, least_samples=3),
    Output("class_probabilities", "FP32", lambda manifest: (len(manifest.classes),), lambda scores: scores.mean_probs),
    Output("predictive_entropy_nats", "FP64", _one, lambda scores: scores.predictive_entropy),
    Output("expected_entropy_nats", "FP64", _one, lambda scores: scores.expected_entropy),
    Output("mutual_information_nats", "FP64", _one, lambda scores: scores.mutual_information, least_samples=2),
    Output("variation_ratio", "FP64", _one, lambda scores: scores.variation_ratio, least_samples=2),
    Output("margin", "FP64", _one, lambda scores: scores.margin),
    Output("box", "FP64", _parameters, _boxes),
    Output("aleatoric_variance", "FP32", _parameters, lambda scores: scores.aleatoric),
    Output("epistemic_variance", "FP32", _parameters, lambda scores: scores.epistemic, least_samples=2),
    Output("embedding", "FP32", lambda manifest: (manifest.net.embedding,), lambda scores: scores.embedding),
)
"""What crops have by any estimator that gives enough samples, in the order in which they are answered where none is named."""

ESCALATED = Output("escalated", "BOOL", _one, _escalated)
"""Whether the full estimator answered a crop."""


def outputs_of(model: Model) -> list[Output]:
    """Return the outputs that a model can have: one pass of one member has no epistemic part, and only one model escalates."""
    outputs = [output for output in OUTPUTS if model.member is None or output.least_samples == 1]
    return [*outputs, ESCALATED] if model.name == ESCALATE else outputs


def requested_outputs(
    requested: Sequence[protocol.ModelInferRequest.InferRequestedOutputTensor], model: Model, samples: int
) -> list[Output]:
    """Return the outputs that a request asks for, all that so many samples give where it names none.

    Raises InvalidArgument for an unknown one, one asked for twice or with parameters, MeaninglessRequest for one that takes
    more samples.
    """
    known = {output.name: output for output in outputs_of(model)}
    if not requested:
        return [output for output in known.values() if output.least_samples <= samples]
    found: dict[str, Output] = {}
    for i, message in enumerate(requested):
        path = f"outputs[{i}]"
        if message.name in found:
            raise InvalidArgument.of(f"{path}.name", repr(message.name), "asked for once")
        if message.name not in known:
            raise InvalidArgument.of(f"{path}.name", repr(message.name), f"one of {', '.join(known)}")
        if message.parameters:
            raise InvalidArgument.of(f"{path}.parameters", ", ".join(sorted(message.parameters)), "empty: none is known")
        output = known[message.name]
        if output.least_samples > samples:
            bound = f"one that takes at most {samples} samples, as many as mc_samples and members give"
            raise MeaninglessRequest.of(f"{path}.name", message.name, bound)
        found[output.name] = output
    return list(found.values())
