"""The trainer as a process tells how it is: health and metrics."""

import asyncio
import logging
import threading
import urllib.request

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from support.registering import several
from support.waiting import wait_for

from quandary import AsyncTrainingClient, Unavailable
from quandary.v1 import training_pb2
from quandary_server.auth import ensure_tokens
from quandary_server.cluster import free_ports
from quandary_server.settings import Settings
from quandary_server.storage.store import Store
from quandary_server.trainer.service import SERVICE, again_and_again, serve_trainer

SERVING, NOT_SERVING = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING


def scraped(port: int) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        return str(answer.read(), "utf-8")


def with_free_ports(settings: Settings, port: int, metrics_port: int) -> Settings:
    ports = {"port": port, "metrics_port": metrics_port}
    return settings.model_copy(update={"trainer": settings.trainer.model_copy(update=ports)})


def test_at_the_end_of_a_run_old_generations_are_deleted(settings: Settings) -> None:
    port, metrics_port = free_ports(2)
    settings = with_free_ports(settings, port, metrics_port)
    settings = settings.model_copy(update={"registry": settings.registry.model_copy(update={"keep": 1})})
    registry = settings.open_registry()
    *_, c, d = several(registry, 4)

    async def go() -> None:
        serving = asyncio.create_task(serve_trainer(settings))
        async with AsyncTrainingClient(f"127.0.0.1:{port}", token=ensure_tokens(settings.tokens)) as client:
            run = await client.start_run()
            # too few labels: a run that fails ends too
            assert (await client.wait_for_run(run.name)).state == training_pb2.RUN_STATE_FAILED
        await asyncio.to_thread(wait_for, lambda: registry.generations() == [d, c])
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)

    asyncio.run(go())


def test_without_its_database_it_is_alive_and_not_ready_and_what_can_be_read_is_scraped(settings: Settings) -> None:
    port, metrics_port = free_ports(2)
    settings = with_free_ports(settings, port, metrics_port)
    settings.data.mkdir(parents=True)
    with Store.open(settings.database):
        pass  # closed, it is all in one file

    async def go() -> None:
        serving = asyncio.create_task(serve_trainer(settings))
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            stub = health_pb2_grpc.HealthStub(channel)
            request = health_pb2.HealthCheckRequest(service=SERVICE)
            assert (await stub.Check(request, timeout=20, wait_for_ready=True)).status == SERVING
            assert "quandary_trainer_generation 0.0" in await asyncio.to_thread(scraped, metrics_port)

            (settings.registry_directory / "CURRENT").write_text("{")
            text = await asyncio.to_thread(scraped, metrics_port)
            assert "quandary_trainer_generation 0.0" not in text
            assert "quandary_trainer_running 0.0" in text
            assert "quandary_trainer_new_crops 0.0" in text

            settings.database.write_bytes(b"no database, whatever it was before\n" * 200)
            assert (await stub.Check(request)).status == NOT_SERVING
            assert (await stub.Check(health_pb2.HealthCheckRequest())).status == SERVING
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)

    asyncio.run(go())


def test_what_goes_wrong_at_every_look_is_logged_once_while_it_lasts(caplog: pytest.LogCaptureFixture) -> None:
    problems: list[Exception | None] = [Unavailable("away")] * 3 + [None, None, ValueError("odd"), ValueError("odd"), None]
    over = threading.Event()
    turns = iter(problems)

    def look() -> None:
        problem = next(turns, over)
        if problem is over:
            over.set()
        elif isinstance(problem, Exception):
            raise problem

    async def go() -> None:
        looking = asyncio.create_task(again_and_again(look, 0.0))
        await asyncio.to_thread(over.wait, 30)
        looking.cancel()
        await asyncio.gather(looking, return_exceptions=True)

    with caplog.at_level(logging.INFO, "quandary_server.trainer.service"):
        asyncio.run(go())
    assert [(record.getMessage(), bool(record.exc_info)) for record in caplog.records] == [
        ("look_failed problem=Unavailable: away", False),
        ("look_goes_on problem_was=Unavailable: away", False),
        ("look_failed problem=ValueError: odd", True),
        ("look_goes_on problem_was=ValueError: odd", False),
    ]
