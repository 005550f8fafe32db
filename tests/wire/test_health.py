import asyncio
import threading
from datetime import timedelta

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from quandary.errors import Unavailable
from quandary_server.grpc_server import start_server
from quandary_server.wire.health import HealthServicer
from quandary_server.wire.ration import MAX_STREAMS

SERVING, NOT_SERVING = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING


def test_alive_is_not_yet_ready_and_watching_tells_the_change() -> None:
    ready = False

    async def go() -> None:
        nonlocal ready
        server, port = await start_server("127.0.0.1", 0, {"quandary.v1.ScoringService": lambda: ready}, [])
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            stub = health_pb2_grpc.HealthStub(channel)
            request = health_pb2.HealthCheckRequest(service="quandary.v1.ScoringService")
            assert (await stub.Check(health_pb2.HealthCheckRequest())).status == SERVING
            assert (await stub.Check(request)).status == NOT_SERVING
            watch = stub.Watch(request)
            assert (await watch.read()).status == NOT_SERVING
            ready = True
            assert (await watch.read()).status == SERVING
            watch.cancel()
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await stub.Check(health_pb2.HealthCheckRequest(service="nobody"))
            assert caught.value.code() == grpc.StatusCode.NOT_FOUND
        await server.stop(0)

    asyncio.run(go())


def test_a_readiness_that_hangs_is_not_ready_holds_nobody_up_and_is_asked_once() -> None:
    asked, let_go = [0], threading.Event()

    def ready() -> bool:
        asked[0] += 1
        return let_go.wait(60)

    async def go() -> None:
        server, port = await start_server("127.0.0.1", 0, {"quandary.v1.QueueService": ready}, [])
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            stub = health_pb2_grpc.HealthStub(channel)
            request = health_pb2.HealthCheckRequest(service="quandary.v1.QueueService")
            waiting = [asyncio.ensure_future(stub.Check(request)) for _ in range(3)]
            assert (await stub.Check(health_pb2.HealthCheckRequest())).status == SERVING
            assert not any(call.done() for call in waiting)
            assert {answer.status for answer in await asyncio.gather(*waiting)} == {NOT_SERVING}
            assert asked == [1]
            let_go.set()
            assert (await stub.Check(request)).status == SERVING
        await server.stop(0)

    asyncio.run(go())


SERVICE = "quandary.v1.QueueService"


def test_who_watches_without_a_token_cannot_use_the_process_up() -> None:
    async def go() -> None:
        server, port = await start_server("127.0.0.1", 0, {SERVICE: lambda: True}, [])
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            stub = health_pb2_grpc.HealthStub(channel)
            watches = [stub.Watch(health_pb2.HealthCheckRequest(service=SERVICE)) for _ in range(MAX_STREAMS)]
            for watch in watches:
                assert (await watch.read()).status == SERVING
            with pytest.raises(grpc.aio.AioRpcError, match="64 watch already") as caught:
                await anext(aiter(stub.Watch(health_pb2.HealthCheckRequest())))
            assert caught.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
            assert (await stub.Check(health_pb2.HealthCheckRequest())).status == SERVING

            watches[0].cancel()
            while await stub.Watch(health_pb2.HealthCheckRequest()).read() is grpc.aio.EOF:
                await asyncio.sleep(0)
        await server.stop(0)

    asyncio.run(go())


def test_a_watch_ends_in_order_when_its_time_is_over() -> None:
    async def go() -> tuple[list[int], grpc.StatusCode]:
        server = grpc.aio.server()
        servicer = HealthServicer({SERVICE: lambda: True}, watch_lifetime=timedelta(milliseconds=50))
        health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest(service=SERVICE))
            told = [answer.status async for answer in watch]
            code = await watch.code()
        await server.stop(0)
        return told, code

    assert asyncio.run(go()) == ([SERVING], grpc.StatusCode.OK)


def test_a_taken_port_is_named() -> None:
    async def go() -> None:
        server, port = await start_server("127.0.0.1", 0, {}, [])
        with pytest.raises(Unavailable, match=f"127.0.0.1:{port} cannot be listened on"):
            await start_server("127.0.0.1", port, {}, [])
        await server.stop(0)

    asyncio.run(go())
