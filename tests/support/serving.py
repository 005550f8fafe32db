"""The scoring service on the session's Ray: Serve, its proxy and replicas, told from a test."""

import itertools
import os
import threading
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from types import MappingProxyType
from typing import Any

import psutil
import ray
from ray import serve
from ray.serve._private.constants import SERVE_NAMESPACE, SERVE_PROXY_NAME
from ray.serve.context import _get_global_client
from ray.serve.schema import ServeDeploySchema

from quandary import Frame, QuandaryError, ScoringClient, ScoringOptions, result_score
from quandary_server.auth import ensure_tokens
from quandary_server.clock import now
from quandary_server.cluster import LOOPBACK, free_ports, port_is_free
from quandary_server.registry.directory import Artefacts
from quandary_server.scoring.app import APPLICATION
from quandary_server.scoring.service import start_scoring, start_serve, stop_scoring
from quandary_server.settings import Settings, load_settings
from quandary_server.trainer.promotion import promote
from support.scoring import register
from support.waiting import wait_for

DEPLOYED_WITHIN_S = 200
"""On a machine that does much else; some 10 s where it does not."""


class Serving:
    """The service and its registry; `start` deploys it, and again with other settings changes it while it serves.

    registry: settings of the registry, by default those of a directory.
    """

    def __init__(self, home: Path, registry: Mapping[str, Any] = MappingProxyType({})) -> None:
        self.home, self._registry = home, dict(registry)
        port, http_port, metrics_port = free_ports(3)
        self._ports = {"port": port, "http_port": http_port, "metrics_port": metrics_port}
        self.settings = self.with_scoring()
        self.token = ensure_tokens(self.settings.tokens)
        self.registry = self.settings.open_registry()

    def with_scoring(self, **scoring: Any) -> Settings:
        """Return the settings with these of scoring."""
        ports = self._ports | {"poll": timedelta(milliseconds=50)}
        return load_settings(data=self.home, registry=self._registry, scoring=ports | scoring)

    def start(self, **scoring: Any) -> None:
        """Deploy with these settings of scoring, and wait until it answers."""
        self.settings = self.with_scoring(**scoring)
        start_scoring(self.settings)

    def stop(self) -> None:
        """End it, with Serve."""
        stop_scoring()

    def client(self, port: int | None = None) -> ScoringClient:
        """Return a client of the service, or of the replica behind a port."""
        return ScoringClient(f"{LOOPBACK}:{port or self.settings.scoring.port}", token=self.token)

    def promote(self, artefacts: Artefacts, timeout: timedelta = timedelta(seconds=60)) -> str:
        """Register a generation and promote it; return its id once all that are on the roster answer with it."""
        generation = register(self.registry, artefacts)
        promote(self.registry, generation, self.registry.pointer(), mover="test", timeout=timeout, clock=now)
        return generation

    def deploy(self, config: dict[str, Any], replicas: dict[str, int]) -> None:
        """Deploy a Serve config file's content, as `serve deploy` does, and wait until these replicas run."""
        self.settings = load_settings(**config["applications"][0]["args"])
        start_serve(self.settings)
        controller = _get_global_client()
        assert controller is not None
        controller.deploy_apps(ServeDeploySchema.model_validate(config))
        wait_for(lambda: all(self.has(name, count) for name, count in replicas.items()), DEPLOYED_WITHIN_S)

    def has(self, deployment: str, replicas: int) -> bool:
        """Return whether a deployment has so many replicas that run, and none that starts or stops."""
        found = serve.status().applications[APPLICATION].deployments.get(deployment)
        return found is not None and found.replica_states == {"RUNNING": replicas}

    def replica(self, deployment: str) -> psutil.Process:
        """Return the process of one of a deployment's replicas."""
        return self.replicas(deployment)[0]

    def replicas(self, deployment: str) -> list[psutil.Process]:
        """Return the processes of a deployment's replicas."""
        name = f"ray::ServeReplica:{APPLICATION}:{deployment}"
        found = []
        for process in psutil.Process().children(recursive=True):
            with suppress(psutil.Error):  # some end meanwhile
                if name in " ".join(process.cmdline()):
                    found.append(process)
        return found

    def reload_proxy(self) -> None:
        """Have HAProxy started anew, as Serve does whenever replicas come or go, and end the one before.

        That one still carries the streams that it had; it would be ended `hard-stop-after` seconds later, by default 120.
        """
        before = _proxies()
        for node in serve.status().proxies:
            manager = ray.get_actor(f"{SERVE_PROXY_NAME}-{node}", namespace=SERVE_NAMESPACE)
            ray.get(manager.update_target_groups.remote(ray.get(manager.get_target_groups.remote())))
        wait_for(lambda: set(_proxies()) - set(before) and not any(map(_listens, before)))
        for proxy in before:
            with suppress(psutil.NoSuchProcess):
                proxy.terminate()
        psutil.wait_procs(before, timeout=10)

    def replica_ports(self) -> list[int]:
        """Return the gRPC ports of the replicas that answer calls themselves."""
        first, stop = (int(os.environ[f"RAY_SERVE_DIRECT_INGRESS_{end}_GRPC_PORT"]) for end in ("MIN", "MAX"))
        return [port for port in range(first, stop) if not port_is_free(LOOPBACK, port)]


def _proxies() -> list[psutil.Process]:
    """Return every HAProxy that runs."""
    found = []
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            found += [process] if process.name() == "haproxy" else []
    return found


def _listens(process: psutil.Process) -> bool:
    """Return whether a process takes new connections; one that is gone does not."""
    try:
        return any(connection.status == psutil.CONN_LISTEN for connection in process.net_connections("tcp"))
    except (psutil.NoSuchProcess, FileNotFoundError):
        return False


class Load:
    """Callers that score frames over and over, each with a client of its own: what was answered, and what went wrong.

    `distinct`: the different answers there were, as bytes.
    """

    def __init__(self, serving: Serving, frames: Sequence[Frame], options: ScoringOptions, callers: int) -> None:
        self._serving, self._frames, self._options = serving, frames, options
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._run) for _ in range(callers)]
        self._lock = threading.Lock()
        self.answers: Counter[str] = Counter()
        self.distinct: set[bytes] = set()
        self.problems: list[str] = []

    def __enter__(self) -> "Load":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def wait_for(self, generation: str, more: int = 5) -> None:
        """Wait for further answers of a generation."""
        before = self.answers[generation]
        wait_for(lambda: self.answers[generation] >= before + more)

    def _run(self) -> None:
        with self._serving.client() as client:
            while not self._over.is_set():
                try:
                    response = client.score_frames(self._frames, self._options)
                    generations = {result.generation for result in response.results} | {response.generation}
                    for result in response.results:
                        result_score(result)
                    with self._lock:
                        self.answers["+".join(sorted(generations))] += 1
                        self.distinct |= {result.SerializeToString(deterministic=True) for result in response.results}
                except QuandaryError as error:
                    self.problems.append(repr(error))


class Streams:
    """Streams of one frame over and over, each of a client of its own, a few frames a second: `answered` counts by stream.

    A stream that is answered twice, not at all or out of turn fails, when the body ends. `distinct`: the different results that
    came, as bytes.
    """

    PAUSE_S = 0.1

    def __init__(self, serving: Serving, frame: Frame, options: ScoringOptions, streams: int) -> None:
        self._serving, self._frame, self._options = serving, frame, options
        self._over = threading.Event()
        self._pool = ThreadPoolExecutor(streams, thread_name_prefix="stream")
        self.answered = [0] * streams
        self.distinct: set[bytes] = set()

    def __enter__(self) -> "Streams":
        self._running = [self._pool.submit(self._run, stream) for stream in range(len(self.answered))]
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._pool.shutdown()
        for running in self._running:
            running.result()

    def wait_for(self, more: int = 3) -> None:
        """Wait for further answers to every stream."""
        before = list(self.answered)
        wait_for(lambda: all(now >= then + more for now, then in zip(self.answered, before, strict=True)))

    def _run(self, stream: int) -> None:
        sent = itertools.count()

        def frames() -> Iterator[Frame]:
            while not self._over.wait(self.PAUSE_S):
                next(sent)
                yield self._frame

        with self._serving.client() as client:
            for place, answer in enumerate(client.stream_scores(frames(), self._options)):
                result_score(answer.result)
                assert answer.sequence == place
                self.distinct.add(answer.result.SerializeToString(deterministic=True))
                self.answered[stream] += 1
        assert self.answered[stream] == next(sent)
