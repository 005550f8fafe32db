"""The selector on PostgreSQL: it starts once the schema is there, and its calls get over a restart of the server."""

import asyncio
import signal
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from support.postgres import Postgres

from quandary.errors import WrongState
from quandary.v1 import queue_pb2, queue_pb2_grpc
from quandary_server.auth import ensure_tokens
from quandary_server.cluster import free_ports
from quandary_server.selector.service import SERVICES, serve_selector
from quandary_server.settings import load_settings
from quandary_server.storage.maintenance import upgrade_store

SERVING, NOT_SERVING = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING


def test_it_wants_the_schema_and_gets_over_a_restart(tmp_path: Path, postgres: Postgres) -> None:
    port, metrics_port, nobody = free_ports(3)
    selector = {"port": port, "metrics_port": metrics_port}
    metadata = (("authorization", f"Bearer {ensure_tokens(tmp_path / 'tokens.json')}"),)
    request = queue_pb2.LeaseTasksRequest(queue="queues/active", max_tasks=1)
    request.lease_duration.seconds = 60

    async def go(url: str) -> None:
        settings = load_settings(data=tmp_path, store={"url": url}, selector=selector, scoring={"port": nobody})
        with pytest.raises(WrongState, match=r"the database is empty, .* `quandary db upgrade`"):
            await serve_selector(settings)
        upgrade_store(settings.store_place, settings.store.options())

        serving = asyncio.create_task(serve_selector(settings))
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            health, queue = health_pb2_grpc.HealthStub(channel), queue_pb2_grpc.QueueServiceStub(channel)
            of_queue = health_pb2.HealthCheckRequest(service=SERVICES[0])
            assert (await health.Check(of_queue, timeout=20, wait_for_ready=True)).status == SERVING
            assert not (await queue.LeaseTasks(request, metadata=metadata)).tasks

            postgres.server.stop(signal.SIGQUIT)
            try:
                with pytest.raises(grpc.aio.AioRpcError) as away:
                    await queue.LeaseTasks(request, metadata=metadata)
                assert away.value.code() == grpc.StatusCode.UNAVAILABLE
                assert (await health.Check(of_queue)).status == NOT_SERVING
            finally:
                postgres.server.start()
            assert not (await queue.LeaseTasks(request, metadata=metadata)).tasks
            assert (await health.Check(of_queue)).status == SERVING
        assert not serving.done()
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)

    with postgres.database() as url:
        asyncio.run(go(url))
