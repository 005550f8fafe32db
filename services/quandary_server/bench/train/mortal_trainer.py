"""A trainer in a process of its own that starts a run, or goes on with one, and kills itself at a point that is named.

python -m quandary_server.bench.train.mortal_trainer [POINT], the settings in the environment. It ends when its run has.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Any

from quandary_server.clock import now
from quandary_server.cluster import start_cluster
from quandary_server.registry.directory import Registry
from quandary_server.settings import Settings, load_settings
from quandary_server.storage.run_values import Run, RunStage, RunState, RunTrigger
from quandary_server.storage.store import Store
from quandary_server.trainer.scheduler import Scheduler

LOOK_EVERY_S = 0.05
TRAINED = 0.3
"""Share of the steps at which a run dies in training."""


class Point(StrEnum):
    """Where it may die: at each stage, and on both sides of what others see of it."""

    SNAPSHOT = "snapshot"
    TRAINING = "training"
    EXPORT = "export"
    GATES = "gates"
    REGISTERING = "registering"
    REGISTERED = "registered"
    MOVING = "moving"
    MOVED = "moved"
    DRAINING = "draining"
    ENDING = "ending"


def carry(settings: Settings, point: Point | None = None) -> int:
    """Run such a process to its end and return how it ended: 0, or -9 where it killed itself."""
    command = [sys.executable, "-m", __spec__.name, *([point.value] if point else [])]
    environment = {**os.environ, **settings.environment()}
    return subprocess.run(command, env=environment, check=False, stdin=subprocess.DEVNULL).returncode


def main() -> None:
    """Start a run, or go on with the one there is, and end with it."""
    settings = load_settings()
    start_cluster(settings)
    ended: list[Run] = []
    with settings.open_store() as store:
        registry = settings.open_registry()
        if len(sys.argv) > 1:
            _arm(Point(sys.argv[1]), store, registry)
        scheduler = Scheduler(store, registry, settings, now, ended.append)
        if not store.runs.list(state=RunState.RUNNING).items:
            scheduler.start(scheduler.plan(), RunTrigger.CALL, "bench")
        while not ended:
            scheduler.look()
            time.sleep(LOOK_EVERY_S)


def _arm(point: Point, store: Store, registry: Registry) -> None:
    """Have this process die at a point. What it is told by are calls that any trainer makes, down to those of the files."""
    if point is Point.SNAPSHOT:
        _die(store.runs, "update", lambda change: "training_crops" in change)
    elif point is Point.TRAINING:
        _die(store.runs, "update", lambda change: "stage" not in change and change.get("stage_progress", 0.0) >= TRAINED)
    elif point in (Point.EXPORT, Point.GATES):
        _die(store.runs, "update", lambda change: change.get("stage") is RunStage(point.value), afterwards=True)
    elif point is Point.REGISTERING:
        _die(Path, "replace", lambda call: call["to"].name == "manifest.json")
    elif point is Point.REGISTERED:
        _die(Path, "replace", lambda call: call["to"].name == "manifest.json", afterwards=True)
    elif point in (Point.MOVING, Point.MOVED):
        _die(Path, "replace", lambda call: call["to"].name == "CURRENT", afterwards=point is Point.MOVED)
    elif point is Point.DRAINING:
        _die(type(registry.roster), "alive", lambda _: True)
    else:
        _die(store.runs, "finish", lambda _: True)


def _die(owner: Any, name: str, here: Callable[[dict[str, Any]], bool], *, afterwards: bool = False) -> None:
    """Kill this process at a call of a method, before it does anything or after it has; here: told the call's arguments."""
    call = getattr(owner, name)

    def mortal(*arguments: Any, **named: Any) -> Any:
        found = here({"to": Path(str(arguments[-1])), **named})
        if found and not afterwards:
            os.kill(os.getpid(), signal.SIGKILL)
        answer = call(*arguments, **named)
        if found:
            os.kill(os.getpid(), signal.SIGKILL)
        return answer

    setattr(owner, name, mortal)


if __name__ == "__main__":
    main()
