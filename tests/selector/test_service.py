"""The selector as a process tells whether it can do its work."""

import asyncio
from pathlib import Path

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from quandary_server.cluster import free_ports
from quandary_server.selector.service import SERVICES, serve_selector
from quandary_server.settings import load_settings

SERVING, NOT_SERVING = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING


def test_without_its_database_it_is_alive_and_not_ready(tmp_path: Path) -> None:
    port, metrics_port, nobody = free_ports(3)
    settings = load_settings(data=tmp_path, selector={"port": port, "metrics_port": metrics_port}, scoring={"port": nobody})

    async def go() -> None:
        serving = asyncio.create_task(serve_selector(settings))
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            stub = health_pb2_grpc.HealthStub(channel)
            for service in SERVICES:
                request = health_pb2.HealthCheckRequest(service=service)
                assert (await stub.Check(request, timeout=20, wait_for_ready=True)).status == SERVING
            settings.database.rename(tmp_path / "elsewhere.db")
            for service in SERVICES:
                assert (await stub.Check(health_pb2.HealthCheckRequest(service=service))).status == NOT_SERVING
            assert (await stub.Check(health_pb2.HealthCheckRequest())).status == SERVING
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)

    asyncio.run(go())
