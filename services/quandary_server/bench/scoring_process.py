"""The scoring service as a process of its own, with a generation of the default net, for benchmarks."""

import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Any, Self

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from quandary.errors import Unavailable
from quandary_server.auth import ensure_tokens
from quandary_server.bench.scoring.untrained import register_untrained
from quandary_server.cluster import free_ports
from quandary_server.detector.settings import NetSettings
from quandary_server.registry.roster import Heartbeat
from quandary_server.scoring.servicer import SERVICE
from quandary_server.settings import load_settings

START_TIMEOUT_S = 120.0
STOP_TIMEOUT_S = 30.0
LOOK_EVERY_S = 0.1

SCORING = ("quandary_server.cli", "scoring")
MEMBERS = 5


class ScoringProcess:
    """`quandary scoring` on free ports and a data directory of its own; use it as a context manager.

    service: the module, with its arguments, that runs it. nets: of the generations that it holds, the current one last.
    environment: variables beside this process's own. scoring: settings of its section. Raises Unavailable where it does not
    answer in time.
    """

    def __init__(
        self,
        service: Sequence[str] = SCORING,
        nets: Sequence[NetSettings] = (NetSettings(),),
        environment: Mapping[str, str] = MappingProxyType({}),
        **scoring: Any,
    ) -> None:
        self._service, self._nets, self._environment, self._scoring = service, nets, environment, scoring
        self._folder = tempfile.TemporaryDirectory(prefix="quandary-bench-", ignore_cleanup_errors=True)

    def __enter__(self) -> Self:
        port, http_port, metrics_port = free_ports(3)
        ports = {"port": port, "http_port": http_port, "metrics_port": metrics_port}
        self._home = Path(self._folder.name)
        self.settings = load_settings(data=self._home, scoring=ports | self._scoring)
        self.token = ensure_tokens(self.settings.tokens)
        self.registry = self.settings.open_registry()
        self.generations = [register_untrained(self.registry, MEMBERS, net, k * MEMBERS) for k, net in enumerate(self._nets)]
        for generation in self.generations:
            self.registry.promote(generation, self.registry.pointer(), datetime.now(UTC), "bench")
        self._log = (self._home / "scoring.log").open("wb")
        command = [sys.executable, "-m", *self._service, "--parent", str(os.getpid())]
        environment = {**os.environ, **self._environment, **self.settings.environment()}
        self.process = subprocess.Popen(command, env=environment, stdout=self._log, stderr=subprocess.STDOUT)
        self._wait()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(STOP_TIMEOUT_S)
        self.process.kill()
        self.process.wait()
        self._log.close()
        self._folder.cleanup()

    @property
    def target(self) -> str:
        """host:port of the ingress."""
        return self.settings.scoring_target

    def replicas(self) -> list[Heartbeat]:
        """Return the replicas that are alive, as the roster has them."""
        return self.registry.roster.alive(datetime.now(UTC))

    def _wait(self) -> None:
        deadline = time.monotonic() + START_TIMEOUT_S
        while not self._ready():
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise Unavailable(f"scoring does not answer; its log: {self.log()}")
            time.sleep(LOOK_EVERY_S)

    def _ready(self) -> bool:
        with grpc.insecure_channel(self.target) as channel:
            try:
                check = health_pb2.HealthCheckRequest(service=SERVICE)
                answer = health_pb2_grpc.HealthStub(channel).Check(check, timeout=5.0)
            except grpc.RpcError:
                return False
        return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)

    def log(self) -> str:
        """Return what it has logged."""
        return (self._home / "scoring.log").read_text()
