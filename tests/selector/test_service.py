"""The selector as a process tells whether it can do its work."""

import asyncio
from datetime import timedelta
from pathlib import Path
from urllib.request import urlopen

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from support.selecting import publish, scored_records

from quandary import Calibration
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


def test_metrics_tell_of_a_logs_sources_and_files_and_of_every_queue(tmp_path: Path, calibration: Calibration) -> None:
    port, metrics_port, nobody = free_ports(3)
    (tmp_path / "log").mkdir()
    (tmp_path / "log" / "notes.mcap").write_bytes(b"no records here")
    selector = {
        "port": port,
        "metrics_port": metrics_port,
        "log_kind": "mcap",
        "mcap": {"directory": tmp_path / "log"},
        "poll": timedelta(milliseconds=5),
        "control_share": 0.0,
        "queues": [{"name": "first-ten", "drives": ["drive-?"]}],
    }
    settings = load_settings(data=tmp_path, selector=selector, scoring={"port": nobody})
    records = scored_records(50, calibration)
    publish(settings, records)

    def scrape() -> str:
        with urlopen(f"http://127.0.0.1:{metrics_port}/metrics") as response:
            return str(response.read().decode())

    async def go() -> str:
        serving = asyncio.create_task(serve_selector(settings))
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            stub = health_pb2_grpc.HealthStub(channel)
            await stub.Check(health_pb2.HealthCheckRequest(service=SERVICES[0]), timeout=20, wait_for_ready=True)
        while 'records_total{outcome="rejected"} 1.0' not in (found := await asyncio.to_thread(scrape)):
            assert not serving.done()
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)
        return found

    found = asyncio.run(go())
    for line in (
        'quandary_selector_records_total{outcome="applied"} 49.0',
        'quandary_selector_rejected_total{reason="invalid"} 1.0',
        'quandary_selector_log_lag{source="files"} 0.0',
        'quandary_selector_tasks{queue="active",state="waiting"} 30.0',
        'quandary_selector_tasks{queue="first-ten",state="waiting"} 19.0',
        'quandary_selector_tasks_behind{queue="first-ten"}',
        'quandary_selector_log_files{state="complete"} 1.0',
        'quandary_selector_log_files{state="foreign"} 1.0',
    ):
        assert line in found
