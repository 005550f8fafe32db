"""Five members on two cores at once, over what two and a half of them take one after the other."""

import os
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from statistics import median

import psutil

from quandary_server.bench.figures import Figure, at_most, reported
from quandary_server.bench.progress import Told
from quandary_server.bench.train.labelled_fleet import simulated
from quandary_server.cluster import running_cluster
from quandary_server.detector.examples import Examples
from quandary_server.detector.export import export_onnx
from quandary_server.detector.fitting import fit_member
from quandary_server.detector.settings import FitSettings, NetSettings
from quandary_server.settings import load_settings
from quandary_server.simulator.settings import FleetSettings
from quandary_server.trainer.checkpoints import Checkpoints
from quandary_server.trainer.labelled import examples_of
from quandary_server.trainer.members import fit_members

FLEET = FleetSettings(pool_drives=4, control_drives=0, evaluation_drives=0, frames_per_drive=20, seed=11)
MEMBERS, CORES, ROUNDS = 5, 2, 3
FIT = FitSettings(steps=300)
"""Half the steps of the default recipe, else the default."""


def member_figures(told: Told, fleet: FleetSettings = FLEET, fit: FitSettings = FIT, rounds: int = ROUNDS) -> list[Figure]:
    """Return the figures: a round fits one member alone, then five at once, then one alone again."""
    with tempfile.TemporaryDirectory() as folder, running_cluster(load_settings(ray={"cpus": CORES})):
        frames = simulated(Path(folder, "fleet"), fleet, told).frames["active"]
        side = NetSettings().side
        examples = Examples.joined([examples_of(record, labels, side) for record, labels in frames])
        cold_s, _ = _timed(lambda: _at_once(examples, fit.model_copy(update={"steps": 1}), Path(folder, "cold")))
        ratios, cpu_ratios, alone_s, export_s = [], [], [], []
        for number in range(rounds):
            told("fitting members", number, rounds)
            before, own_before = _timed(lambda: fit_member(examples, NetSettings(), fit, 0))
            workers = _workers_cpu_s()
            at_once, _ = _timed(lambda: _at_once(examples, fit, Path(folder, "checkpoints")))
            workers = _workers_cpu_s() - workers
            after, own_after = _timed(lambda: fit_member(examples, NetSettings(), fit, 0))
            export, own_export = _timed(lambda: export_onnx(fit_member(examples, NetSettings(), FitSettings(steps=1), 0)))
            alone, own = (before + after) / 2 + export, (own_before + own_after) / 2 + own_export
            alone_s.append(alone)
            export_s.append(export)
            ratios.append(at_once / (alone * MEMBERS / CORES))
            cpu_ratios.append(workers / (own * MEMBERS))
        told("fitting members", rounds, rounds)
    return [
        at_most("members_over_ideal", median(ratios), "", 1.15, ratios),
        reported("members_cpu_over_alone", median(cpu_ratios), "", cpu_ratios),
        reported("member_alone_s", median(alone_s), "s", alone_s),
        reported("member_export_s", median(export_s), "s", export_s),
        reported("workers_start_s", cold_s, "s"),
    ]


def _at_once(examples: Examples, fit: FitSettings, folder: Path) -> None:
    checkpoints = Checkpoints(folder)
    fit_members(examples, NetSettings(), fit, range(MEMBERS), lambda _: None, checkpoints)
    checkpoints.remove()


def _timed(work: Callable[[], object]) -> tuple[float, float]:
    """Return the seconds, and the seconds of CPU in this process, that work takes."""
    started, cpu = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - started, time.process_time() - cpu


def _workers_cpu_s() -> float:
    """Return the seconds of CPU that Ray's workers below this process have used."""
    used = 0.0
    for process in psutil.Process(os.getpid()).children(recursive=True):
        with suppress(psutil.Error):
            if process.name().startswith("ray::"):
                times = process.cpu_times()
                used += times.user + times.system
    return used
