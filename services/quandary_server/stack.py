"""All three services on one machine: a local Ray, and a process each."""

import threading
import time
from collections.abc import Callable
from datetime import timedelta
from types import TracebackType

import grpc
import ray
from filelock import FileLock, Timeout
from grpc_health.v1 import health_pb2, health_pb2_grpc

from quandary.errors import Unavailable
from quandary_server.auth import ensure_tokens
from quandary_server.cluster import check_ports, start_cluster
from quandary_server.settings import Settings
from quandary_server.supervisor import Supervisor

START_TIMEOUT = timedelta(seconds=90)
LOOK_EVERY_S = 0.1
SERVICES = ("scoring", "selector", "trainer")


class Stack:
    """A running Quandary; use it as a context manager, which ends everything it started.

    told: called with lines for people. Raises Unavailable where another one runs on the same data directory.
    """

    def __init__(self, settings: Settings, told: Callable[[str], None]) -> None:
        self._settings, self._told = settings, told
        settings.data.mkdir(parents=True, exist_ok=True)
        self._lock = FileLock(settings.data / ".up.lock")
        self._owns_ray = False
        self.supervisor: Supervisor | None = None

    def __enter__(self) -> "Stack":
        try:
            self._lock.acquire(timeout=0)
        except Timeout:
            raise Unavailable(f"another Quandary runs on {self._settings.data}") from None
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self.supervisor is not None:
            self.supervisor.stop()
        if self._owns_ray and ray.is_initialized():
            ray.shutdown()
        self._lock.release()

    def start(self, stop: threading.Event | None = None) -> bool:
        """Start Ray and the services; return once all answer, or False where `stop` was set meanwhile.

        Raises Unavailable where one of them does not answer within 90 s.
        """
        check_ports(self._settings, SERVICES)
        ensure_tokens(self._settings.tokens)
        self._owns_ray = not ray.is_initialized()
        address = start_cluster(self._settings, metrics_port=self._settings.scoring.metrics_port)
        joined = self._settings.ray.model_copy(update={"address": address})
        settings = self._settings.model_copy(update={"ray": joined})
        self.supervisor = Supervisor(settings.environment(), self._settings.data / "logs", self._told)
        self.supervisor.start(SERVICES)
        return self._wait(stop or threading.Event())

    def _wait(self, stop: threading.Event) -> bool:
        scoring, selector, trainer = self._settings.scoring, self._settings.selector, self._settings.trainer
        targets = {
            "scoring": f"{scoring.host}:{scoring.port}",
            "selector": f"{selector.host}:{selector.port}",
            "trainer": f"{trainer.host}:{trainer.port}",
        }
        deadline = time.monotonic() + START_TIMEOUT.total_seconds()
        for name, target in targets.items():
            while not alive(target):
                if stop.wait(LOOK_EVERY_S):
                    return False
                if time.monotonic() > deadline:
                    log = self._settings.data / "logs" / f"{name}.log"
                    raise Unavailable(f"{name} does not answer at {target} after {START_TIMEOUT.seconds} s; see {log}")
        return True


def alive(target: str) -> bool:
    """Return whether a service answers the gRPC health check."""
    with grpc.insecure_channel(target) as channel:
        try:
            health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=2.0)
        except grpc.RpcError:
            return False
    return True
