"""Tensors of the Open Inference Protocol: what a request says they are, what they hold, and how answers are written."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quandary.errors import InvalidArgument, within
from quandary_server.wire.inference_v2 import open_inference_pb2 as protocol

VARIES = -1
"""An extent that may vary."""

DTYPES: dict[str, np.dtype[Any]] = {"FP32": np.dtype("<f4"), "FP64": np.dtype("<f8"), "BOOL": np.dtype("?")}
"""The data types that are served; raw contents are little-endian."""

CONTENTS = {"FP32": "fp32_contents", "FP64": "fp64_contents", "BOOL": "bool_contents"}
"""Where typed contents of each data type are."""


@dataclass(frozen=True)
class TensorSpec:
    """What a tensor is: name, data type and shape, -1 where an extent may vary."""

    name: str
    datatype: str
    shape: tuple[int, ...]

    def message(self) -> protocol.ModelMetadataResponse.TensorMetadata:
        """Return the message that tells it."""
        return protocol.ModelMetadataResponse.TensorMetadata(name=self.name, datatype=self.datatype, shape=self.shape)


@dataclass(frozen=True)
class InputTensor:
    """An input whose name, type, shape and size are right; its values are not read yet. path: where it is in the request."""

    path: str
    datatype: str
    shape: tuple[int, ...]
    held: bytes | Sequence[float]

    def values(self) -> NDArray[Any]:
        """Return the values in their shape; raw ones are read-only."""
        dtype, held = DTYPES[self.datatype], self.held
        flat = np.frombuffer(held, dtype) if isinstance(held, bytes) else np.fromiter(held, dtype, len(held))
        return flat.reshape(self.shape).astype(dtype.newbyteorder("="), copy=False)


def read_inputs(
    request: protocol.ModelInferRequest, specs: Sequence[TensorSpec], optional: Collection[str] = ()
) -> dict[str, InputTensor]:
    """Return the inputs of a request by name; raises InvalidArgument unless they are what the specs say, each at most once."""
    known, raw = {spec.name: spec for spec in specs}, request.raw_input_contents
    if raw and len(raw) != len(request.inputs):
        raise InvalidArgument.of("raw_input_contents", f"{len(raw)} tensors", f"{len(request.inputs)}, one per input")

    found: dict[str, InputTensor] = {}
    for i, message in enumerate(request.inputs):
        path = f"inputs[{i}]"
        if message.name not in known or message.name in found:
            raise InvalidArgument.of(f"{path}.name", repr(message.name), f"one of {', '.join(known)}, each once")
        spec = known[message.name]
        with within(path):
            _check_header(message, spec)
        shape = tuple(message.shape)
        held = _raw(raw[i], i, spec, shape, message) if raw else _typed(message, path, spec, shape)
        found[spec.name] = InputTensor(path, spec.datatype, shape, held)

    for name in known:
        if name not in found and name not in optional:
            raise InvalidArgument.of("inputs", f"without {name}", f"with {', '.join(n for n in known if n not in optional)}")
    return found


def write_output(response: protocol.ModelInferResponse, name: str, datatype: str, values: NDArray[Any], *, raw: bool) -> None:
    """Add an output tensor to a response, with raw or with typed contents."""
    tensor = response.outputs.add(name=name, datatype=datatype, shape=values.shape)
    data = np.ascontiguousarray(values, DTYPES[datatype])
    if raw:
        response.raw_output_contents.append(data.tobytes())
    else:
        getattr(tensor.contents, CONTENTS[datatype]).extend(data.ravel().tolist())


def _check_header(message: protocol.ModelInferRequest.InferInputTensor, spec: TensorSpec) -> None:
    if message.parameters:
        raise InvalidArgument.of("parameters", ", ".join(sorted(message.parameters)), "empty: no shared memory here")
    if message.datatype != spec.datatype:
        raise InvalidArgument.of("datatype", repr(message.datatype), f"{spec.datatype} for {spec.name}")
    fits = len(message.shape) == len(spec.shape) and all(
        extent >= 1 if wanted == VARIES else extent == wanted for extent, wanted in zip(message.shape, spec.shape, strict=True)
    )
    if not fits:
        wanted = ", ".join("at least 1" if extent == VARIES else str(extent) for extent in spec.shape)
        raise InvalidArgument.of("shape", list(message.shape[:8]), f"[{wanted}] for {spec.name}")


def _raw(
    held: bytes, i: int, spec: TensorSpec, shape: tuple[int, ...], message: protocol.ModelInferRequest.InferInputTensor
) -> bytes:
    if message.HasField("contents"):
        raise InvalidArgument.of(f"inputs[{i}].contents", "set", "unset where raw_input_contents are used")
    expected = DTYPES[spec.datatype].itemsize * prod(shape)
    if len(held) != expected:
        bound = f"{expected} bytes for {spec.name} of shape {list(shape)}"
        raise InvalidArgument.of(f"raw_input_contents[{i}]", f"{len(held)} bytes", bound)
    return held


def _typed(
    message: protocol.ModelInferRequest.InferInputTensor, path: str, spec: TensorSpec, shape: tuple[int, ...]
) -> Sequence[float]:
    where = CONTENTS[spec.datatype]
    for field, _ in message.contents.ListFields():
        if field.name != where:
            raise InvalidArgument.of(f"{path}.contents.{field.name}", "set", f"empty: {spec.datatype} is in {where}")
    held: Sequence[float] = getattr(message.contents, where)
    if len(held) != prod(shape):
        bound = f"{prod(shape)} values for {spec.name} of shape {list(shape)}"
        raise InvalidArgument.of(f"{path}.contents.{where}", f"{len(held)} values", bound)
    return held
