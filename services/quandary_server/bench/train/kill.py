"""SIGKILL at each stage of a run, while a real service scores: what is broken afterwards."""

import tempfile
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

from quandary.errors import QuandaryError
from quandary_server.bench.figures import Figure, at_most, reported
from quandary_server.bench.progress import Told
from quandary_server.bench.scoring_process import ScoringProcess
from quandary_server.bench.train.asker import Asker
from quandary_server.bench.train.labelled_fleet import ANY_GENERATION, simulated
from quandary_server.bench.train.mortal_trainer import Point, carry
from quandary_server.clock import now
from quandary_server.cluster import running_cluster
from quandary_server.registry.directory import Registry
from quandary_server.settings import Settings, load_settings
from quandary_server.simulator.settings import FleetSettings
from quandary_server.storage.run_values import RunState
from quandary_server.storage.store import Store

KILLS = 20
FLEET = FleetSettings(pool_drives=2, control_drives=1, evaluation_drives=0, frames_per_drive=10, seed=5)
TRAINER: dict[str, Any] = {
    "members": 3,
    "fit": {"steps": 60, "batch": 16, "report_every": 5},
    "net": {"channels": (4, 4, 8), "image_embedding": 12, "geometry_embedding": 4, "hidden": 16},
    "new_crops": 0,
    "min_crops": 20,
    "gates": ANY_GENERATION,
    "lost_after": timedelta(seconds=1),
}
SIGKILLED = -9


def kill_figures(told: Told, kills: int = KILLS) -> list[Figure]:
    """Return what is broken by so many kills, one a run, each point in turn."""
    broken: list[str] = []
    with tempfile.TemporaryDirectory() as folder, ScoringProcess() as scoring, running_cluster(load_settings()) as address:
        settings = load_settings(data=scoring.settings.data, ray={"address": address}, trainer=TRAINER)
        fleet = simulated(Path(folder), FLEET, told)
        with settings.open_store() as store, Asker(scoring.target, scoring.token) as asker:
            fleet.enqueue(store, now())
            fleet.submit(store, now())
            for k in range(kills):
                point = list(Point)[k % len(Point)]
                told(f"killed at {point}", k, kills)
                broken += [f"{point}: {problem}" for problem in killed_once(settings, store, point)]
                current = scoring.registry.pointer()
                others = {beat.generation for beat in scoring.replicas()} - {current.generation if current else ""}
                broken += [f"{point}: a replica answers with {other}" for other in others]
        broken += asker.problems
    return [
        at_most("broken_by_kill", len(broken), "", 0, broken),
        reported("killed", kills, ""),
        reported("answers_while_killing", sum(asker.answers.values()), ""),
    ]


def killed_once(settings: Settings, store: Store, point: Point) -> list[str]:
    """Start a run, kill its trainer at a point, start another, and return what is not as it should be."""
    registry = settings.open_registry()
    before = store.runs.newest()
    problems = []
    if (code := carry(settings, point)) != SIGKILLED:
        problems.append(f"the trainer ended with {code}, before it was killed")
    problems += wrong_with(registry)
    if code := carry(settings):
        problems.append(f"the next trainer ended with {code}")
    run = store.runs.newest()
    if run is None or run == before:
        return [*problems, "there is no run"]
    if run.state is not RunState.SUCCEEDED or run.resumptions != 1:
        problems.append(f"{run.id} {run.state} after {run.resumptions} resumptions: {run.error}")
    made = [name for name in registry.generations() if registry.manifest(name).run == run.id]
    if made != [run.generation]:
        problems.append(f"{run.id} left the generations {made}")
    pointer = registry.pointer()
    if pointer is None or pointer.generation != run.generation:
        problems.append(f"{run.generation} is not current")
    return [*problems, *wrong_with(registry)]


def wrong_with(registry: Registry) -> Sequence[str]:
    """Return what is wrong with the pointer, and with what it points to: nothing, or one line."""
    try:
        pointer = registry.pointer()
        if pointer is not None:
            registry.load(pointer.generation, pointer.manifest_digest)
    except QuandaryError as error:
        return [f"the pointer is broken: {error}"]
    return []
