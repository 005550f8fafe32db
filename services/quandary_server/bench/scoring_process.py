"""The scoring service as a process of its own, with a generation of the default net, for benchmarks."""

import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import grpc
import torch
from grpc_health.v1 import health_pb2, health_pb2_grpc

from quandary.errors import Unavailable
from quandary.labels import CLASSES
from quandary_server.auth import ensure_tokens
from quandary_server.cluster import free_ports
from quandary_server.detector.export import export_onnx
from quandary_server.detector.net import FrustumNet
from quandary_server.detector.settings import NetSettings
from quandary_server.registry.directory import Registry
from quandary_server.registry.manifest import Manifest, NetRecord, member_name
from quandary_server.registry.roster import Heartbeat
from quandary_server.scoring.servicer import SERVICE
from quandary_server.settings import load_settings

START_TIMEOUT_S = 120.0
STOP_TIMEOUT_S = 30.0
LOOK_EVERY_S = 0.1


class ScoringProcess:
    """`quandary scoring` on free ports and a data directory of its own; use it as a context manager.

    scoring: settings of its section. Raises Unavailable where it does not answer in time.
    """

    def __init__(self, members: int = 5, **scoring: Any) -> None:
        self._members, self._scoring = members, scoring
        self._folder = tempfile.TemporaryDirectory(prefix="quandary-bench-", ignore_cleanup_errors=True)

    def __enter__(self) -> Self:
        port, http_port, metrics_port = free_ports(3)
        ports = {"port": port, "http_port": http_port, "metrics_port": metrics_port}
        self._home = Path(self._folder.name)
        self.settings = load_settings(data=self._home, scoring=ports | self._scoring)
        self.token = ensure_tokens(self.settings.tokens)
        self.registry = Registry(self.settings.registry)
        self.registry.promote(register_untrained(self.registry, self._members), None, datetime.now(UTC), "bench")
        self._log = (self._home / "scoring.log").open("wb")
        command = [sys.executable, "-m", "quandary_server.cli", "scoring", "--parent", str(os.getpid())]
        environment: Mapping[str, str] = {**os.environ, **self.settings.environment()}
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


def register_untrained(registry: Registry, members: int, net: NetSettings | None = None) -> str:
    """Register members that were never fitted, all different; return the generation."""
    settings = net or NetSettings()
    models = {}
    for seed in range(members):
        torch.manual_seed(seed)
        models[member_name(seed)] = export_onnx(FrustumNet(settings))[0]

    def describe(number: int, name: str, files: dict[str, str]) -> Manifest:
        return Manifest(
            generation=name,
            number=number,
            created=datetime.now(UTC),
            classes=CLASSES,
            net=NetRecord(side=settings.side, embedding=settings.embedding, hidden=settings.hidden, dropout=settings.dropout),
            box_scales=(1.0,) * 7,
            seed=0,
            files=files,
        )

    return registry.register(models, describe).generation
