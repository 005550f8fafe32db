"""`quandary up` as its users run it: a process tree of its own, told from a test."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from threading import Event, Thread
from typing import Any

import psutil

from quandary import Frame, LabellingClient, NoGeneration, QuandaryError, ScoringClient, TrainingClient, result_score
from quandary_server.auth import ensure_tokens
from quandary_server.cluster import free_ports
from quandary_server.settings import Settings, load_settings

COMMAND = [sys.executable, "-m", "quandary_server.cli"]


def small_settings(data: Path, **trainer: Any) -> Settings:
    """Return settings on free ports: two replicas, small nets, short runs."""
    scoring, http, scoring_metrics, selector, selector_metrics, training, trainer_metrics = free_ports(7)
    small: dict[str, Any] = {
        "port": training,
        "metrics_port": trainer_metrics,
        "members": 2,
        "fit": {"steps": 40, "batch": 16, "report_every": 5},
        "net": {"channels": (4, 4, 8), "image_embedding": 12, "geometry_embedding": 4, "hidden": 16},
        "min_crops": 12,
        "new_crops": 0,
        "poll": "PT0.2S",
    }
    return load_settings(
        data=data,
        scoring={"port": scoring, "http_port": http, "metrics_port": scoring_metrics, "replicas": 2},
        selector={
            "port": selector,
            "metrics_port": selector_metrics,
            "control_share": 0.0,
            "control_drives": ("control",),
            "batch": 8,
            "mc_samples": 5,
        },
        trainer=small | trainer,
    )


class Quandary:
    """A running `quandary up`."""

    def __init__(self, settings: Settings, log: Path) -> None:
        self.settings, self._log = settings, log
        self._out = log.open("ab")
        environment = {**os.environ, **settings.environment(), "COLUMNS": "200"}
        environment.pop("QUANDARY_TOKEN")
        self.environment = environment
        self.process = subprocess.Popen([*COMMAND, "up"], env=environment, stdout=self._out, stderr=subprocess.STDOUT)
        self.wait_for(self._started, 120)
        self.token = ensure_tokens(settings.tokens)

    def _started(self) -> bool:
        assert self.process.poll() is None, self._log.read_text()
        return "Ctrl-C stops everything" in self._log.read_text()

    def cli(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a command as a user would."""
        done = subprocess.run([*COMMAND, *arguments], env=self.environment, capture_output=True, text=True, timeout=120)
        assert not check or done.returncode == 0, done.stderr
        return done

    def json(self, *arguments: str) -> Any:
        """Return what a command prints with --json."""
        return json.loads(self.cli(*arguments, "--json").stdout)

    def scoring(self) -> ScoringClient:
        return ScoringClient(self.settings.scoring_target, token=self.token)

    def labelling(self) -> LabellingClient:
        return LabellingClient(f"127.0.0.1:{self.settings.selector.port}", token=self.token)

    def training(self) -> TrainingClient:
        return TrainingClient(f"127.0.0.1:{self.settings.trainer.port}", token=self.token)

    def service(self, name: str) -> psutil.Process:
        """Return the process of a service as it runs now."""
        for child in psutil.Process(self.process.pid).children():
            if "quandary_server.cli" in child.cmdline() and name in child.cmdline():
                return child
        raise AssertionError(f"{name} does not run")

    def processes(self) -> list[psutil.Process]:
        """Return every process that belongs to it."""
        return [psutil.Process(self.process.pid), *psutil.Process(self.process.pid).children(recursive=True)]

    def stop(self, timeout_s: float = 15.0) -> None:
        """Press Ctrl-C; it must be gone in time, and nothing of it left."""
        everything = self.processes()
        self.process.send_signal(signal.SIGINT)
        assert self.process.wait(timeout_s) == 0, self._log.read_text()
        _, left = psutil.wait_procs(everything, timeout=1.0)
        assert left == []

    def end(self) -> None:
        """End it whatever state it is in."""
        if self.process.poll() is None:
            everything = self.processes()
            self.process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(20)
            _, left = psutil.wait_procs(everything, timeout=1)
            for process in left:
                process.kill()
        self._out.close()

    @staticmethod
    def wait_for(condition: Callable[[], Any], timeout_s: float = 60.0) -> Any:
        """Return what the condition gives once that is true."""
        deadline = time.monotonic() + timeout_s
        while not (found := condition()):
            assert time.monotonic() < deadline, "not in time"
            Event().wait(0.05)
        return found


class ScoringLoop:
    """Somebody who scores a frame over and over: what came, from which generation, and what went wrong."""

    def __init__(self, quandary: Quandary, frame: Frame) -> None:
        self._quandary, self._frame = quandary, frame
        self._over = Event()
        self._thread = Thread(target=self._run)
        self.answers: Counter[str] = Counter()
        self.too_early = 0
        self.problems: list[str] = []

    def __enter__(self) -> "ScoringLoop":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def wait_for(self, generation: str, more: int = 5) -> None:
        """Wait for further answers of a generation."""
        before = self.answers[generation]
        Quandary.wait_for(lambda: self.answers[generation] >= before + more)

    def _run(self) -> None:
        with self._quandary.scoring() as client:
            while not self._over.is_set():
                try:
                    response = client.score_frames([self._frame])
                    result_score(response.results[0])
                    self.answers[response.generation] += 1
                except NoGeneration:
                    self.too_early += 1
                    # whoever waits for the first generation leaves the cores to those who train it
                    self._over.wait(0.1)
                except QuandaryError as error:
                    self.problems.append(repr(error))
