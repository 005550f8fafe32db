"""gRPC health (grpc.health.v1): the empty service is alive while it answers, the named one when it can do its work."""

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import timedelta

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from quandary.errors import InvalidArgument, Overloaded
from quandary_server.wire.decoding import decoded
from quandary_server.wire.door import Context, refuse
from quandary_server.wire.ration import LIFETIME, Ration

WATCH_INTERVAL_S = 1.0
PATIENCE_S = 2.0

Status = health_pb2.HealthCheckResponse.ServingStatus
Readiness = Callable[[], bool]


class HealthServicer(health_pb2_grpc.HealthServicer):  # type: ignore[misc]
    """Health of one process: `services` tells for each named service whether it is ready.

    It is asked in a thread of its own, since that may take a look at a database. Where it takes longer than 2 s the service is
    not ready, and the question that hangs is all that is asked until it returns.

    Health is asked for without a token, so whoever watches it must not be able to use the process up: watches are rationed, and
    each ends in order after `watch_lifetime`, upon which a client that still cares asks again.
    """

    def __init__(self, services: dict[str, Readiness], watch_lifetime: timedelta = LIFETIME) -> None:
        self._services, self._watches = services, Ration("watch", watch_lifetime)
        self._asked: dict[str, asyncio.Task[bool]] = {}

    async def Check(  # noqa: N802
        self, request: health_pb2.HealthCheckRequest, grpc_context: Context
    ) -> health_pb2.HealthCheckResponse:
        """Return SERVING or NOT_SERVING; NOT_FOUND for a service that is not here."""
        try:
            status = await self._status(decoded(request).service)
        except InvalidArgument as error:
            refuse(grpc_context, error)
            return health_pb2.HealthCheckResponse()
        if status == Status.SERVICE_UNKNOWN:
            grpc_context.set_code(grpc.StatusCode.NOT_FOUND)
            grpc_context.set_details(f"no service {request.service[:100]!r} here; known are {', '.join(['', *self._services])}")
            return health_pb2.HealthCheckResponse()
        return health_pb2.HealthCheckResponse(status=status)

    async def List(  # noqa: N802
        self, request: health_pb2.HealthListRequest, grpc_context: Context
    ) -> health_pb2.HealthListResponse:
        """Return the status of every service."""
        statuses = {name: health_pb2.HealthCheckResponse(status=await self._status(name)) for name in ["", *self._services]}
        return health_pb2.HealthListResponse(statuses=statuses)

    async def Watch(  # noqa: N802
        self, request: health_pb2.HealthCheckRequest, grpc_context: Context
    ) -> AsyncIterator[health_pb2.HealthCheckResponse]:
        """Yield the status now and whenever it has changed, until the client ends the call or its time is over."""
        try:
            with self._watches.place() as over:
                async for status in self._changes(decoded(request).service, over):
                    yield health_pb2.HealthCheckResponse(status=status)
        except (InvalidArgument, Overloaded) as error:
            refuse(grpc_context, error)

    async def _changes(self, service: str, over: float) -> AsyncIterator[int]:
        loop, told = asyncio.get_running_loop(), None
        while loop.time() < over:
            status = await self._status(service)
            if status != told:
                told = status
                yield status
            await asyncio.sleep(min(WATCH_INTERVAL_S, max(over - loop.time(), 0.0)))

    async def _status(self, service: str) -> int:
        if service and service not in self._services:
            return int(Status.SERVICE_UNKNOWN)
        alive_or_ready = not service or await self._ready(service)
        return int(Status.SERVING if alive_or_ready else Status.NOT_SERVING)

    async def _ready(self, service: str) -> bool:
        asked = self._asked.get(service)
        if asked is None or asked.done():
            asked = self._asked[service] = asyncio.create_task(asyncio.to_thread(self._services[service]))
        try:
            return await asyncio.wait_for(asyncio.shield(asked), PATIENCE_S)
        except TimeoutError:
            return False
