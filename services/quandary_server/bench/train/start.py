"""Members that begin with those of the generation before, against members from scratch: what labels make of both."""

import tempfile
import time
from collections import defaultdict
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import product
from pathlib import Path
from statistics import mean

import numpy as np

from quandary.options import ScoringOptions
from quandary_server.bench.figures import Figure, reported
from quandary_server.bench.progress import Told
from quandary_server.bench.train.labelled_fleet import simulated
from quandary_server.detector.assessment import assess
from quandary_server.detector.examples import Examples
from quandary_server.detector.export import export_onnx
from quandary_server.detector.fitting import fit_member
from quandary_server.detector.net import FrustumNet
from quandary_server.detector.settings import FitSettings, NetSettings
from quandary_server.inference.generation import LoadedGeneration
from quandary_server.simulator.settings import FleetSettings
from quandary_server.trainer.candidate import draft_candidate
from quandary_server.trainer.labelled import examples_of
from quandary_server.trainer.members import Member

FLEET = FleetSettings(pool_drives=6, control_drives=4, evaluation_drives=0, frames_per_drive=12, seed=17)
ROUNDS, SEEDS, MEMBERS, STEPS = 3, 2, 3, 150


@dataclass(frozen=True)
class Arm:
    """How members begin from the second round on, and with what share of the steps they are fitted there."""

    name: str
    from_current: bool
    share: float = 1.0


ARMS = (
    Arm("scratch", False),
    Arm("current", True),
    Arm("current_half", True, 0.5),
    # as many steps as the members of `current` have behind them by then
    Arm("scratch_long", False, float(ROUNDS)),
)


def start_figures(told: Told, fleet: FleetSettings = FLEET, steps: int = STEPS, seeds: int = SEEDS) -> list[Figure]:
    """Return, for each arm, the figures of the last round's generation on drives that were never taught, means of two seeds."""
    with tempfile.TemporaryDirectory() as folder:
        frames = simulated(Path(folder), fleet, told).frames
        pool, control = (
            Examples.joined([examples_of(record, labels, NetSettings().side) for record, labels in frames[queue]])
            for queue in ("active", "control")
        )
    samples: dict[str, list[float]] = defaultdict(list)
    for number, (seed, arm) in enumerate(product(range(seeds), ARMS)):
        told(f"{arm.name}, seed {seed}", number, seeds * len(ARMS))
        for name, value in _last_round(arm, seed, steps, pool, control).items():
            samples[f"start_{arm.name}_{name}"].append(value)
    return [reported(name, mean(values), "s" if name.endswith("_s") else "", values) for name, values in samples.items()]


def _last_round(arm: Arm, seed: int, all_steps: int, pool: Examples, control: Examples) -> dict[str, float]:
    """Teach round after round, each with as many drives more, and return what the last generation does."""
    drives = sorted(set(pool.drives.tolist()))
    nets: list[FrustumNet] = []
    # from scratch, what was before makes no difference
    for number in range(ROUNDS) if arm.from_current else (ROUNDS - 1,):
        taught = pool.take(np.isin(pool.drives, drives[: len(drives) * (number + 1) // ROUNDS]))
        starts: list[FrustumNet | None] = [*nets] if arm.from_current and nets else [None] * MEMBERS
        steps = round(all_steps * arm.share) if number else all_steps
        began = time.process_time()
        nets = [
            fit_member(taught, NetSettings(), FitSettings(steps=steps), 1000 * seed + MEMBERS * number + k, start)
            for k, start in enumerate(starts)
        ]
        seconds = time.process_time() - began
    found = assess(_generation(nets, taught, seed), control, ScoringOptions())
    figures, information = found.figures(), found.scores.mutual_information
    shown = {name: figures[name] for name in ("macro_recall", "nll", "ece") if name in figures}
    return shown | {"mutual_information": float(information.mean()), "cpu_s": seconds}


def _generation(nets: list[FrustumNet], taught: Examples, seed: int) -> LoadedGeneration:
    members = [Member(*export_onnx(net), loss=float("nan")) for net in nets]
    made = {"now": datetime.now(UTC), "parent": "", "run": "", "snapshot_digest": "", "settings": {}}
    return draft_candidate(members, NetSettings(), taught, seed=seed, **made).load()  # type: ignore[arg-type]
