"""The Open Inference Protocol, version 2: check, compute, convert."""

import time
from importlib.metadata import version

from quandary.errors import InvalidArgument, within
from quandary.frames import check_identifier
from quandary_server.auth import Caller, Role
from quandary_server.inference.generation import Generation, sample_count
from quandary_server.scoring.engine import Engine, check_samples
from quandary_server.scoring.keeper import Keeper
from quandary_server.scoring.open_inference.infer import Inference
from quandary_server.scoring.open_inference.inputs import input_specs, read_crops
from quandary_server.scoring.open_inference.models import named
from quandary_server.scoring.open_inference.outputs import outputs_of, requested_outputs
from quandary_server.scoring.pinning import answered
from quandary_server.scoring.schedule import Terms
from quandary_server.wire.door import Context, Door, unary
from quandary_server.wire.frames import Limits
from quandary_server.wire.inference_parameters import Parameters, integer
from quandary_server.wire.inference_v2 import open_inference_pb2 as protocol
from quandary_server.wire.inference_v2 import open_inference_pb2_grpc

INFERENCE_SERVICE = "inference.GRPCInferenceService"
SERVER = "quandary"
PLATFORM = "onnx_onnxv1"
MAX_TIMEOUT_US = 10**12


class OpenInferenceServicer(open_inference_pb2_grpc.GRPCInferenceServiceServicer):
    """The protocol's service over a keeper and an engine; knows no Ray."""

    def __init__(self, door: Door, keeper: Keeper[Generation], engine: Engine, limits: Limits) -> None:
        self.door, self.keeper, self.engine, self.limits = door, keeper, engine, limits

    async def ServerLive(self, request: protocol.ServerLiveRequest, grpc_context: Context) -> protocol.ServerLiveResponse:
        """Tell that the replica answers; needs no token."""
        self.door.report("ServerLive", "OK", time.perf_counter())
        return protocol.ServerLiveResponse(live=True)

    async def ServerReady(self, request: protocol.ServerReadyRequest, grpc_context: Context) -> protocol.ServerReadyResponse:
        """Tell whether a generation answers; needs no token."""
        self.door.report("ServerReady", "OK", time.perf_counter())
        return protocol.ServerReadyResponse(ready=bool(self.keeper.resident))

    @unary(Role.FLEET, protocol.ModelReadyResponse)
    async def ModelReady(self, request: protocol.ModelReadyRequest, caller: Caller) -> protocol.ModelReadyResponse:
        """Tell whether a model's generation is resident; NOT_FOUND for a model that there is not."""
        model = named("name", request.name)
        resident = [g for g in self.keeper.resident if not request.version or g.id == request.version]
        if not resident:
            return protocol.ModelReadyResponse(ready=False)
        model.serving("name", resident[0])
        return protocol.ModelReadyResponse(ready=True)

    @unary(Role.FLEET, protocol.ServerMetadataResponse)
    async def ServerMetadata(self, request: protocol.ServerMetadataRequest, caller: Caller) -> protocol.ServerMetadataResponse:
        """Tell what this server is."""
        return protocol.ServerMetadataResponse(name=SERVER, version=version(SERVER))

    @unary(Role.FLEET, protocol.ModelMetadataResponse)
    async def ModelMetadata(self, request: protocol.ModelMetadataRequest, caller: Caller) -> protocol.ModelMetadataResponse:
        """Tell what a model takes and answers."""
        model = named("name", request.name)
        generation = self.keeper.generation(_pinned("version", request.version))
        model.serving("name", generation)
        manifest = generation.manifest
        return protocol.ModelMetadataResponse(
            name=model.name,
            versions=[g.id for g in self.keeper.resident if model.member is None or model.member < g.members],
            platform=PLATFORM,
            inputs=[spec.message() for spec in input_specs(manifest.net.side)],
            outputs=[output.spec(manifest).message() for output in outputs_of(model)],
        )

    @unary(Role.FLEET, protocol.ModelInferResponse)
    async def ModelInfer(self, request: protocol.ModelInferRequest, caller: Caller) -> protocol.ModelInferResponse:
        """Score rasterised crops with a model."""
        model = named("model_name", request.model_name)
        pinned, deadline = _pinned("model_version", request.model_version), _deadline(request.parameters)

        async def answer(resident: Generation) -> protocol.ModelInferResponse:
            generation = model.serving("model_name", resident)
            options = model.options(request.parameters)
            check_samples(options, generation.members, "parameters")
            outputs = requested_outputs(request.outputs, model, sample_count(options, generation.members))
            crops = read_crops(request, generation.manifest.net.side, self.limits)

            inference = Inference(request, generation, options, crops, outputs)
            await self.engine.run(inference.parts(), options, Terms(deadline=deadline))
            return inference.response

        return await answered(self.keeper, pinned, answer, deadline)


def _pinned(field: str, version: str) -> str:
    return check_identifier(field, version) if version else ""


def _deadline(parameters: Parameters) -> float | None:
    """Return by time.monotonic() when the server may give up: Triton's clients send `timeout` in microseconds."""
    with within("parameters"):
        microseconds = integer(parameters, "timeout")
        if microseconds is None:
            return None
        if not 0 < microseconds <= MAX_TIMEOUT_US:
            raise InvalidArgument.of("timeout", microseconds, f"1 to {MAX_TIMEOUT_US} microseconds")
    return time.monotonic() + microseconds / 1e6
