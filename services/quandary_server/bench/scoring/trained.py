"""A generation that learnt something, and crops it never saw: scores of random weights say nothing about a ranking."""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path

from quandary_server.bench.progress import Told
from quandary_server.datasets.kitti import KittiFolder
from quandary_server.datasets.proposals import proposals_of
from quandary_server.datasets.records import frame_record
from quandary_server.datasets.sources import ProposalSource
from quandary_server.detector.examples import Examples
from quandary_server.detector.export import export_onnx
from quandary_server.detector.fitting import fit_member
from quandary_server.detector.settings import FitSettings, NetSettings
from quandary_server.inference.generation import LoadedGeneration
from quandary_server.inference.provider import Provider
from quandary_server.registry.directory import Artefacts
from quandary_server.simulator.fleet import simulate_fleet
from quandary_server.simulator.settings import FleetSettings
from quandary_server.trainer.candidate import draft_candidate
from quandary_server.trainer.cascade import with_thresholds
from quandary_server.trainer.labelled import examples_of
from quandary_server.trainer.members import Member

FLEET = FleetSettings(pool_drives=4, control_drives=4, evaluation_drives=8, frames_per_drive=20, seed=11)
MEMBERS, STEPS = 5, 500


@dataclass(frozen=True)
class TrainedScene:
    """A generation, and the crops of drives that it was not taught."""

    artefacts: Artefacts
    control: Examples
    evaluation: Examples

    @cached_property
    def generation(self) -> LoadedGeneration:
        """The generation in memory."""
        return LoadedGeneration(self.artefacts, Provider.CPU)

    def first_members(self, count: int) -> LoadedGeneration:
        """Return a generation of the first members alone."""
        manifest, members = self.artefacts.manifest, self.artefacts.members[:count]
        files = {name: manifest.files[name] for name in manifest.members[:count]}
        return LoadedGeneration(Artefacts(manifest.model_copy(update={"files": files}), members), Provider.CPU)


def trained_scenes(told: Told, nets: Sequence[NetSettings]) -> list[TrainedScene]:
    """Simulate a small fleet, and for each net teach five members with its pool and calibrate on its control drives."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder, "fleet")
        simulate_fleet(root, FLEET, lambda done, total: told("simulating a fleet", done, total))
        dataset = KittiFolder(root)
        splits = [[_examples(dataset, split, net.side) for split in ("pool", "control", "evaluation")] for net in nets]
    return [_scene(told, net, *examples) for net, examples in zip(nets, splits, strict=True)]


def _scene(told: Told, net: NetSettings, pool: Examples, control: Examples, evaluation: Examples) -> TrainedScene:
    members, what = [], f"teaching members at {net.side} cells"
    for seed in range(MEMBERS):
        told(what, seed, MEMBERS)
        model, parity = export_onnx(fit_member(pool, net, FitSettings(steps=STEPS), seed))
        members.append(Member(model, parity, float("nan")))
    told(what, MEMBERS, MEMBERS)
    candidate = draft_candidate(
        members, net, pool, seed=0, now=datetime.now(UTC), parent="", run="", snapshot_digest="", settings={}
    )
    manifest = with_thresholds(candidate, control, pool).draft
    return TrainedScene(Artefacts(manifest, tuple(member.model for member in members)), control, evaluation)


def _examples(dataset: KittiFolder, split: str, side: int) -> Examples:
    found = []
    for entry in dataset.frames(split):
        frame = dataset.read(entry.frame_id)
        if proposals := proposals_of(frame, ProposalSource.DETECTIONS, seed=0):
            found.append(examples_of(frame_record(frame, proposals), frame.labels, side))
    return Examples.joined(found)
