"""The selector as a process of its own."""

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from quandary.errors import Unavailable
from quandary_server.settings import Settings

SERVICE = "quandary.v1.QueueService"
START_TIMEOUT_S, STOP_TIMEOUT_S, LOOK_EVERY_S = 60.0, 30.0, 0.1


@dataclass(frozen=True)
class SelectorProcess:
    """Where it serves (host:port), and its process id."""

    target: str
    pid: int


@contextmanager
def selector_process(settings: Settings) -> Iterator[SelectorProcess]:
    """Return a `quandary selector` that serves these settings. Raises Unavailable where it does not in time."""
    target = f"{settings.selector.host}:{settings.selector.port}"
    path = settings.data / "selector.log"
    command = [sys.executable, "-m", "quandary_server.cli", "selector", "--parent", str(os.getpid())]
    with path.open("wb") as log:
        environment = {**os.environ, **settings.environment()}
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=subprocess.STDOUT)
    try:
        deadline = time.monotonic() + START_TIMEOUT_S
        while not _serves(target):
            if process.poll() is not None or time.monotonic() > deadline:
                raise Unavailable(f"the selector does not answer; its log: {path.read_text()}")
            time.sleep(LOOK_EVERY_S)
        yield SelectorProcess(target, process.pid)
    finally:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(STOP_TIMEOUT_S)
        process.kill()
        process.wait()


def _serves(target: str) -> bool:
    with grpc.insecure_channel(target) as channel:
        try:
            answer = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(service=SERVICE), timeout=5.0)
        except grpc.RpcError:
            return False
    return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)
