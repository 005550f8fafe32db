"""The gRPC server of selector and trainer: grpc.aio with health, reflection and the limits of the client."""

import asyncio
import signal
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import timedelta
from typing import Any, cast

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection, reflection_pb2, reflection_pb2_grpc

from quandary.errors import Overloaded, Unavailable
from quandary_server.wire.decoding import Tolerant, Undecodable
from quandary_server.wire.door import refuse
from quandary_server.wire.health import HealthServicer, Readiness
from quandary_server.wire.ration import LIFETIME, Ration, until

GRACE = timedelta(seconds=2)
MAX_MESSAGE_BYTES = 64 << 20

Register = Callable[[grpc.aio.Server], None]


class Reflection(reflection.aio.ReflectionServicer):  # type: ignore[misc]
    """Reflection, rationed as watches of health are, since it needs no token either.

    A request that cannot be parsed is answered as an empty one: in band, INVALID_ARGUMENT.
    """

    def __init__(self, names: Sequence[str], lifetime: timedelta = LIFETIME) -> None:
        super().__init__(names)
        self._ration = Ration("use reflection", lifetime)

    async def ServerReflectionInfo(self, requests: AsyncIterator[Any], context: Any) -> AsyncIterator[Any]:  # noqa: N802
        """Answer what services and messages there are."""
        try:
            with self._ration.place() as over:
                async for answer in super().ServerReflectionInfo(_parsed(until(over, aiter(requests))), context):
                    yield answer
        except Overloaded as error:
            refuse(context, error)


async def _parsed(requests: AsyncIterator[Any]) -> AsyncIterator[Any]:
    async for request in requests:
        yield reflection_pb2.ServerReflectionRequest() if isinstance(request, Undecodable) else request


async def start_server(
    host: str, port: int, services: dict[str, Readiness], registrations: Sequence[Register]
) -> tuple[grpc.aio.Server, int]:
    """Return a serving server and its port (a free one for port 0).

    services: full names, each with whether it is ready. registrations: add the servicers. Raises Unavailable where the port
    is taken.
    """
    options = [
        ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
        ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
        ("grpc.so_reuseport", 0),
    ]
    server = grpc.aio.server(options=options)
    tolerant = cast(grpc.aio.Server, Tolerant(server))
    for register in registrations:
        register(tolerant)
    health_pb2_grpc.add_HealthServicer_to_server(HealthServicer(services), tolerant)
    names = [*services, health_pb2.DESCRIPTOR.services_by_name["Health"].full_name, reflection.SERVICE_NAME]
    reflection_pb2_grpc.add_ServerReflectionServicer_to_server(Reflection(names), tolerant)
    try:
        bound = server.add_insecure_port(f"{host}:{port}")
    except RuntimeError:
        raise Unavailable(f"{host}:{port} cannot be listened on: is another service there?") from None
    await server.start()
    return server, bound


async def until_told_to_stop() -> None:
    """Return at SIGINT or SIGTERM."""
    told = asyncio.Event()
    loop = asyncio.get_running_loop()
    for name in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(name, told.set)
    await told.wait()
