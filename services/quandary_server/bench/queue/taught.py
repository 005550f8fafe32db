"""Generations by the dozen: what a queue asks for must not hang on one training."""

import tempfile
from datetime import UTC, datetime
from pathlib import Path

from quandary_server.bench.progress import Told
from quandary_server.datasets.kitti import KittiFolder
from quandary_server.datasets.proposals import detection_proposals
from quandary_server.datasets.records import frame_record
from quandary_server.detector.examples import Examples
from quandary_server.detector.export import export_onnx
from quandary_server.detector.fitting import fit_member
from quandary_server.detector.settings import FitSettings, NetSettings
from quandary_server.inference.generation import LoadedGeneration
from quandary_server.simulator.fleet import simulate_fleet
from quandary_server.simulator.settings import FleetSettings
from quandary_server.trainer.candidate import draft_candidate
from quandary_server.trainer.labelled import examples_of
from quandary_server.trainer.members import Member

FLEET = FleetSettings(pool_drives=8, control_drives=0, evaluation_drives=2, frames_per_drive=12, seed=3)
MEMBERS, STEPS = 3, 300


def taught_generations(count: int, told: Told) -> list[LoadedGeneration]:
    """Return so many generations of three members each, taught on simulated drives: some ten minutes for twenty.

    There are as many members as generations, and each is in three of them: no two generations are the same.
    """
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder, "fleet")
        simulate_fleet(root, FLEET, lambda done, total: told("simulating a fleet", done, total))
        pool = _examples(KittiFolder(root))
    members = []
    for seed in range(count):
        told("teaching members", seed, count)
        model, parity = export_onnx(fit_member(pool, NetSettings(), FitSettings(steps=STEPS), seed))
        members.append(Member(model, parity, float("nan")))
    return [_generation([members[(seed + k) % count] for k in range(MEMBERS)], pool) for seed in range(count)]


def _generation(members: list[Member], pool: Examples) -> LoadedGeneration:
    return draft_candidate(
        members, NetSettings(), pool, seed=0, now=datetime.now(UTC), parent="", run="", snapshot_digest="", settings={}
    ).load()


def _examples(dataset: KittiFolder) -> Examples:
    found = []
    for entry in dataset.frames("pool"):
        frame = dataset.read(entry.frame_id)
        if proposals := detection_proposals(frame):
            found.append(examples_of(frame_record(frame, proposals), frame.labels, NetSettings().side))
    return Examples.joined(found)
