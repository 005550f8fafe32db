"""The gRPC server of selector and trainer: grpc.aio with health, reflection and the limits of the client."""

import asyncio
import signal
from collections.abc import Callable, Sequence
from datetime import timedelta

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from quandary.errors import Unavailable
from quandary_server.wire.health import HealthServicer, Readiness

GRACE = timedelta(seconds=2)
MAX_MESSAGE_BYTES = 64 << 20

Register = Callable[[grpc.aio.Server], None]


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
    for register in registrations:
        register(server)
    health_pb2_grpc.add_HealthServicer_to_server(HealthServicer(services), server)
    names = [*services, health_pb2.DESCRIPTOR.services_by_name["Health"].full_name, reflection.SERVICE_NAME]
    reflection.enable_server_reflection(names, server)
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
