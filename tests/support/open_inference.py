"""Calls of the Open Inference Protocol with our own stubs, and the environment of a stock client."""

import json
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import grpc
import numpy as np
from numpy.typing import NDArray

from quandary import Frame
from quandary_server.frustum.raster import Rasters, rasterise
from quandary_server.wire.inference_tensors import DTYPES
from quandary_server.wire.inference_v2 import open_inference_pb2 as protocol
from quandary_server.wire.inference_v2 import open_inference_pb2_grpc
from support.environments import python_with

STOCK_CLIENT = ["tritonclient[grpc]==2.73.0", "grpcio==1.85.1", "protobuf==6.33.6", "numpy==2.4.6"]

STOCK_REFUSALS = [
    "NOT_FOUND",
    "NOT_FOUND",
    "FAILED_PRECONDITION",
    "INVALID_ARGUMENT",
    "INVALID_ARGUMENT",
    "UNAUTHENTICATED",
]
"""Of what the stock client asks for in vain: a member and a model that there is not, a generation that is not resident, an
unknown output, an unknown parameter, a call without a token."""


def stock_python() -> Path | None:
    """Return the interpreter of the stock client's environment, made on first use; None where no package index is at hand."""
    return python_with("tritonclient", STOCK_CLIENT)


def run_stock_client(python: Path, folder: Path, target: str, token: str, rasters: Rasters) -> "StockAnswers":
    """Return what the stock client, in a process of its own, gets for the rasters."""
    inputs: dict[str, Any] = tensors(rasters)
    np.savez(folder / "crops.npz", **inputs)
    script = Path(__file__).with_name("stock_client.py")
    subprocess.run([python, "-I", script, target, token, folder], check=True, timeout=120)
    return StockAnswers(folder)


class StockAnswers:
    """What the stock client left in a folder: `told` as JSON, and the outputs of each inference."""

    def __init__(self, folder: Path) -> None:
        self.told: dict[str, Any] = json.loads((folder / "told.json").read_text())
        self.refusals = [status.removeprefix("StatusCode.") for status, _ in self.told["refused"]]
        self.outputs = {name: dict(np.load(folder / f"{name}.npz")) for name in self.told["inferred"]}


def raster_frame(frame: Frame, side: int = 24) -> Rasters:
    """Return the rasters of a frame's crops."""
    cropped = frame.cropped()
    return rasterise(cropped.crops or [], frame.calibration, [proposal.box for proposal in frame.proposals], side)


def tensors(rasters: Rasters) -> dict[str, NDArray[Any]]:
    """Return the inputs by name."""
    anchors = np.column_stack([rasters.anchors.centre, rasters.anchors.bearing])
    return {"maps": rasters.maps, "geometry": rasters.geometry, "anchors": anchors}


def infer_request(
    inputs: dict[str, NDArray[Any]],
    model: str = "ensemble",
    *,
    outputs: Sequence[str] = (),
    raw: bool = True,
    version: str = "",
    **parameters: Any,
) -> protocol.ModelInferRequest:
    """Return a request; parameters: int64, doubles or texts."""
    request = protocol.ModelInferRequest(model_name=model, model_version=version, id="call-7")
    for name, values in inputs.items():
        datatype = {4: "FP32", 8: "FP64"}[values.itemsize]
        tensor = request.inputs.add(name=name, datatype=datatype, shape=values.shape)
        if raw:
            request.raw_input_contents.append(values.tobytes())
        else:
            getattr(tensor.contents, f"{datatype.lower()}_contents").extend(values.ravel().tolist())
    request.outputs.extend(protocol.ModelInferRequest.InferRequestedOutputTensor(name=name) for name in outputs)
    for name, value in parameters.items():
        choice = {str: "string_param", float: "double_param"}.get(type(value), "int64_param")
        setattr(request.parameters[name], choice, value)
    return request


def output_values(response: protocol.ModelInferResponse) -> dict[str, NDArray[Any]]:
    """Return the outputs by name, raw or typed."""
    found = {}
    for i, tensor in enumerate(response.outputs):
        dtype = DTYPES[tensor.datatype]
        if response.raw_output_contents:
            flat = np.frombuffer(response.raw_output_contents[i], dtype)
        else:
            flat = np.array(getattr(tensor.contents, f"{tensor.datatype.lower()}_contents"), dtype)
        found[tensor.name] = flat.reshape(tuple(tensor.shape))
    return found


class OpenInference:
    """A channel with our own stubs."""

    def __init__(self, target: str, token: str) -> None:
        self._target = target
        self._metadata = (("authorization", f"Bearer {token}"),) if token else ()

    def call(self, method: str, request: Any) -> Any:
        """Return the answer to a call; raises grpc.RpcError."""
        with grpc.insecure_channel(self._target) as channel:
            rpc: Callable[..., Any] = getattr(open_inference_pb2_grpc.GRPCInferenceServiceStub(channel), method)
            return rpc(request, metadata=self._metadata, timeout=30)

    def infer(self, *arguments: Any, **options: Any) -> protocol.ModelInferResponse:
        """Return the response to `infer_request`."""
        response: protocol.ModelInferResponse = self.call("ModelInfer", infer_request(*arguments, **options))
        return response
