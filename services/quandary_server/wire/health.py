"""gRPC health (grpc.health.v1): the empty service is alive while it answers, the named one when it can do its work."""

import asyncio
from collections.abc import AsyncIterator, Callable

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from quandary_server.wire.door import Context

WATCH_INTERVAL_S = 1.0

Status = health_pb2.HealthCheckResponse.ServingStatus
Readiness = Callable[[], bool]


class HealthServicer(health_pb2_grpc.HealthServicer):  # type: ignore[misc]
    """Health of one process: `services` tells for each named service whether it is ready."""

    def __init__(self, services: dict[str, Readiness]) -> None:
        self._services = {"": lambda: True, **services}

    async def Check(  # noqa: N802
        self, request: health_pb2.HealthCheckRequest, grpc_context: Context
    ) -> health_pb2.HealthCheckResponse:
        """Return SERVING or NOT_SERVING; NOT_FOUND for a service that is not here."""
        status = self._status(request.service)
        if status == Status.SERVICE_UNKNOWN:
            grpc_context.set_code(grpc.StatusCode.NOT_FOUND)
            grpc_context.set_details(f"no service {request.service[:100]!r} here; known are {', '.join(self._services)}")
            return health_pb2.HealthCheckResponse()
        return health_pb2.HealthCheckResponse(status=status)

    async def Watch(  # noqa: N802
        self, request: health_pb2.HealthCheckRequest, grpc_context: Context
    ) -> AsyncIterator[health_pb2.HealthCheckResponse]:
        """Yield the status now and whenever it has changed, until the client ends the call."""
        told: int | None = None
        while True:
            status = self._status(request.service)
            if status != told:
                told = status
                yield health_pb2.HealthCheckResponse(status=status)
            await asyncio.sleep(WATCH_INTERVAL_S)

    def _status(self, service: str) -> int:
        ready = self._services.get(service)
        if ready is None:
            return int(Status.SERVICE_UNKNOWN)
        return int(Status.SERVING if ready() else Status.NOT_SERVING)
