"""Reflection of the selector's and the trainer's server, which anybody may use."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from quandary_server.grpc_server import Reflection, start_server
from quandary_server.wire.ration import MAX_STREAMS

SERVICE = "quandary.v1.QueueService"
LIST = reflection_pb2.ServerReflectionRequest(list_services="")


@asynccontextmanager
async def reflecting() -> AsyncIterator[Any]:
    """Serve, and give the stub's method."""
    server, port = await start_server("127.0.0.1", 0, {SERVICE: lambda: True}, [])
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo
    await server.stop(0)


async def first_answer(call: Any) -> Any:
    """Ask for the services; what comes back may be the end of the call."""
    await call.write(LIST)
    return await call.read()


async def let_in(ask: Any) -> bool:
    """Return whether another call is answered."""
    try:
        return [answer async for answer in ask(iter([LIST]))] != []
    except grpc.aio.AioRpcError:
        return False


def test_reflection_lists_the_services() -> None:
    async def go() -> list[str]:
        async with reflecting() as ask:
            answers = [answer async for answer in ask(iter([LIST]))]
        return [service.name for service in answers[0].list_services_response.service]

    assert {SERVICE, "grpc.health.v1.Health"} <= set(asyncio.run(go()))


def test_who_reflects_without_a_token_cannot_use_the_process_up() -> None:
    async def go() -> None:
        async with reflecting() as ask:
            calls = [ask() for _ in range(MAX_STREAMS)]
            for call in calls:
                assert (await first_answer(call)).HasField("list_services_response")
            refused = ask()
            assert await refused.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
            assert await refused.details() == "64 use reflection already"
            # those who hold a place go on
            assert (await first_answer(calls[-1])).HasField("list_services_response")

            calls[0].cancel()
            while not await let_in(ask):
                await asyncio.sleep(0)

    asyncio.run(go())


def test_reflection_ends_in_order_when_its_time_is_over() -> None:
    async def go() -> None:
        server = grpc.aio.server()
        servicer = Reflection([SERVICE], lifetime=timedelta(milliseconds=50))
        reflection_pb2_grpc.add_ServerReflectionServicer_to_server(servicer, server)
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            call = reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo()
            assert (await first_answer(call)).HasField("list_services_response")
            assert await call.read() is grpc.aio.EOF
            assert await call.code() is grpc.StatusCode.OK
        await server.stop(0)

    asyncio.run(go())
