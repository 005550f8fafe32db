"""From the acknowledged label that starts a run to the first answer of the generation that it made, at the demo's size."""

import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from quandary.errors import Unavailable
from quandary_server.bench.figures import Figure, reported
from quandary_server.bench.progress import Told
from quandary_server.bench.scoring_process import ScoringProcess
from quandary_server.bench.train.asker import Asker
from quandary_server.bench.train.labelled_fleet import ANY_GENERATION, simulated
from quandary_server.clock import now
from quandary_server.cluster import free_ports
from quandary_server.settings import Settings, load_settings
from quandary_server.simulator.settings import FleetSettings
from quandary_server.storage.run_values import Run, RunState
from quandary_server.storage.store import Store
from quandary_server.trainer.service import SERVICE

FLEET = FleetSettings(pool_drives=6, control_drives=3, evaluation_drives=0, frames_per_drive=16, seed=7)
STEPS, ROUNDS = 150, 3
TRAINER: dict[str, Any] = {"members": 3, "new_crops": 1, "gates": ANY_GENERATION}
"""As the demo trains."""

START_S, RUN_S, STOP_S, LOOK_EVERY_S = 120.0, 600.0, 30.0, 0.02


def loop_figures(told: Told, size: FleetSettings = FLEET, steps: int = STEPS) -> list[Figure]:
    """Return the seconds from label to answer and their parts, medians of three rounds; the first meets cold workers."""
    totals: list[float] = []
    parts: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as folder, ScoringProcess() as scoring:
        fleet = simulated(Path(folder), size, told)
        port, metrics_port = free_ports(2)
        trainer = TRAINER | {"fit": {"steps": steps}, "port": port, "metrics_port": metrics_port}
        settings = load_settings(data=scoring.settings.data, trainer=trainer)
        with settings.open_store() as store, Asker(scoring.target, scoring.token) as asker:
            fleet.enqueue(store, now())
            fleet.submit(store, now(), ["control"])
            with _trainer(settings, Path(folder)):
                for k in range(ROUNDS):
                    told("from label to answer", k, ROUNDS)
                    fleet.submit_share(store, now(), k, ROUNDS)
                    acknowledged = time.time()
                    run = _ended(store, k + 1)
                    _wait(partial(asker.first_s.__contains__, run.generation), RUN_S)
                    totals.append(asker.first_s[run.generation] - acknowledged)
                    for name, seconds in _parts(run, acknowledged).items():
                        parts.setdefault(name, []).append(seconds)
    figures = [reported("label_to_serving_s", sorted(totals)[ROUNDS // 2], "s", totals)]
    figures += [reported(f"label_to_serving_{n}_s", sorted(s)[ROUNDS // 2], "s", s) for n, s in parts.items()]
    return [*figures, reported("label_to_serving_crops", fleet.crops(), "")]


def _parts(run: Run, acknowledged: float) -> dict[str, float]:
    stages = {name.removeprefix("seconds_"): value for name, value in run.metrics.items() if name.startswith("seconds_")}
    return {"trigger": run.start_time.timestamp() - acknowledged, **stages}


def _ended(store: Store, number: int) -> Run:
    def ended() -> bool:
        run = store.runs.newest()
        return run is not None and run.id.endswith(f"{number:06d}") and run.state is not RunState.RUNNING

    _wait(ended, RUN_S)
    run = store.runs.newest()
    if run is None or run.state is not RunState.SUCCEEDED:
        raise Unavailable(f"the run did not succeed: {run and run.error}")
    return run


@contextmanager
def _trainer(settings: Settings, folder: Path) -> Iterator[None]:
    """Run `quandary trainer` while the body runs."""
    environment = {**os.environ, **settings.environment()}
    command = [sys.executable, "-m", "quandary_server.cli", "trainer", "--parent", str(os.getpid())]
    with (folder / "trainer.log").open("wb") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=subprocess.STDOUT)
        try:
            _wait(lambda: _serves(settings.trainer.port), START_S)
            yield
        finally:
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(STOP_S)
            process.kill()
            process.wait()


def _serves(port: int) -> bool:
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        try:
            answer = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(service=SERVICE), timeout=5.0)
        except grpc.RpcError:
            return False
    return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)


def _wait(condition: Callable[[], bool], timeout_s: float) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            raise Unavailable(f"not within {timeout_s:.0f} s")
        time.sleep(LOOK_EVERY_S)
