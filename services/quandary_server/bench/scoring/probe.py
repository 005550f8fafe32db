"""A replica that can be asked what a request costs it, in its own process."""

from typing import Any

import grpc
from google.protobuf.struct_pb2 import Struct

from quandary.options import Estimator, ScoringOptions
from quandary_server.bench.frames import cropped_frame
from quandary_server.bench.scoring.steps import Request, crops_per_second, step_times
from quandary_server.scoring.cost import Load
from quandary_server.scoring.ingress import ScoringIngress
from quandary_server.scoring.schedule import Part, Terms

SERVICE, METHOD = "quandary.bench.Probe", "MeasureSteps"
MARGIN_S = 120.0

OPTIONS = ScoringOptions(Estimator.ENSEMBLE_MC_DROPOUT)


class ProbedIngress(ScoringIngress):
    """A replica that measures itself."""

    async def MeasureSteps(self, request: Struct) -> Struct:  # noqa: N802
        """Measure, in the compute thread: milliseconds of CPU by step, and raw crops a second."""
        asked: dict[str, Any] = dict(request)
        frame = cropped_frame(int(asked["crops"]), int(asked["seed"]))
        generation = self.keeper.generation(str(asked["generation"]))
        seconds = float(asked["seconds"]) / 2

        def measure() -> dict[str, float]:
            measured = Request.of(frame, generation, OPTIONS, self.limits)
            return step_times(measured, seconds) | {"crops_per_s": crops_per_second(measured, seconds)}

        # not told to the cost model: it is no request
        load = Load(OPTIONS.estimator, frames=1, crops=0, points=0, passes=1, samples=1)
        (found,) = await self.engine.schedule.run([Part(measure, load, lambda _: False)], Terms(flow=SERVICE))
        answer = Struct()
        answer.update(found)
        return answer


def add_probe(servicer: Any, server: Any) -> None:
    """Register the probe; Serve takes this by name."""
    handler = grpc.unary_unary_rpc_method_handler(
        servicer.MeasureSteps, request_deserializer=Struct.FromString, response_serializer=Struct.SerializeToString
    )
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, {METHOD: handler}),))
    server.add_registered_method_handlers(SERVICE, {METHOD: handler})


def measured(target: str, generation: str, crops: int, seconds: float, seed: int = 0) -> dict[str, float]:
    """Have the replica measure itself for some seconds: milliseconds of CPU by step, and raw crops a second."""
    request = Struct()
    request.update({"generation": generation, "crops": crops, "seconds": seconds, "seed": seed})
    with grpc.insecure_channel(target) as channel:
        call = channel.unary_unary(
            f"/{SERVICE}/{METHOD}", request_serializer=Struct.SerializeToString, response_deserializer=Struct.FromString
        )
        found: dict[str, Any] = dict(call(request, timeout=seconds + MARGIN_S))
        return {name: float(value) for name, value in found.items()}
