"""Small nets, really fitted, before all the gates: a good one, one taught shuffled labels, one whose members are the same."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch

from quandary import ScoringOptions
from quandary.labels import CLASSES
from quandary_server.clock import now
from quandary_server.datasets.kitti import KittiFolder
from quandary_server.datasets.proposals import proposals_of
from quandary_server.datasets.records import frame_record
from quandary_server.datasets.sources import ProposalSource
from quandary_server.detector.examples import Examples
from quandary_server.detector.export import export_onnx
from quandary_server.detector.fitting import fit_member
from quandary_server.detector.settings import FitSettings, NetSettings
from quandary_server.settings.gates import GateSettings
from quandary_server.simulator import FleetSettings, simulate_fleet
from quandary_server.trainer.calibration import calibrated, split_control
from quandary_server.trainer.candidate import Candidate, draft_candidate
from quandary_server.trainer.cascade import with_thresholds
from quandary_server.trainer.gates.figures import FIGURES
from quandary_server.trainer.judging import Bench, Judged
from quandary_server.trainer.labelled import examples_of
from quandary_server.trainer.members import Member

NET = NetSettings(channels=(8, 16, 16), image_embedding=48, geometry_embedding=16, hidden=48)
SMALLER = NET.model_copy(update={"side": 16})
FIT = FitSettings(steps=150, batch=32)
OPTIONS = ScoringOptions(mc_samples=5)
GATES = ["onnx_parity", "answers", "disagreement", *(figure.gate for figure in FIGURES), "latency"]

Crops = Callable[[str, int], Examples]


@pytest.fixture(scope="module")
def crops(tmp_path_factory: pytest.TempPathFactory) -> Crops:
    """The crops of a small simulated fleet, by split and the side of the maps."""
    root = tmp_path_factory.mktemp("fleet") / "frames"
    simulate_fleet(root, FleetSettings(8, 8, 0, frames_per_drive=4, frame_interval_s=2.0, seed=5))
    folder = KittiFolder(root)

    def make(split: str, side: int) -> Examples:
        read = [folder.read(entry.frame_id) for entry in folder.frames(split)]
        records = [(frame_record(frame, proposals_of(frame, ProposalSource.DETECTIONS, 0)), frame.labels) for frame in read]
        return Examples.joined([examples_of(record, labels, side) for record, labels in records])

    return make


@pytest.fixture(scope="module")
def bench(crops: Crops) -> Bench:
    split = split_control(crops("control", NET.side))
    training = crops("pool", NET.side)
    return Bench(split, training, OPTIONS, GateSettings(), lambda side: split_control(crops("control", side)).gates)


def fitted(bench: Bench, examples: Examples, seeds: Sequence[int], net: NetSettings = NET, fit: FitSettings = FIT) -> Candidate:
    by_seed = {seed: Member(*export_onnx(fit_member(examples, net, fit, seed)), loss=0.5) for seed in set(seeds)}
    members = [by_seed[seed] for seed in seeds]
    drafted = draft_candidate(members, net, examples, seed=1, now=now(), parent="", run="", snapshot_digest="", settings={})
    if net is not NET:
        return drafted
    return with_thresholds(calibrated(drafted, bench.split, OPTIONS), bench.split.thresholds, examples)


@pytest.fixture(scope="module")
def good(bench: Bench) -> Candidate:
    return fitted(bench, bench.training, [1, 2])


def verdicts(judged: Judged) -> dict[str, str]:
    return {gate.gate: gate.verdict for gate in judged.gates}


def test_a_good_candidate_passes_with_no_current_one_and_against_its_like(bench: Bench, good: Candidate) -> None:
    first, again = bench.judged(good, None), bench.judged(good, good.load())
    assert list(verdicts(first)) == list(verdicts(again)) == GATES
    assert [gate for gate in (*first.gates, *again.gates) if gate.verdict == "refused"] == []
    assert verdicts(first)["latency"] == "undetermined"
    assert verdicts(again)["nll"] == verdicts(again)["latency"] == "passed"
    assert good.draft.temperature != 1.0
    assert first.metrics["temperature"] == good.draft.temperature
    assert first.metrics["calibration_crops"] == len(bench.split.calibration)
    assert {"seed_rank_correlation", "nll", "cascade_share", "training_loss"} <= set(first.metrics)


@pytest.fixture(scope="module")
def shuffled(bench: Bench) -> Candidate:
    """Taught that any crop may be anything, calibrated as any other."""
    order = np.random.default_rng(0).permutation(len(bench.training))
    taught = replace(bench.training, classes=bench.training.classes[order], boxes=bench.training.boxes[order])
    return fitted(bench, taught, [1, 2])


@pytest.mark.parametrize("has_current", [False, True])
def test_a_candidate_taught_shuffled_labels_is_refused_with_the_reason(
    bench: Bench, good: Candidate, shuffled: Candidate, has_current: bool
) -> None:
    judged = bench.judged(shuffled, good.load() if has_current else None)
    refused = {gate.gate: gate for gate in judged.gates if gate.verdict == "refused"}
    assert "how frequent the classes are" in refused["nll"].reason
    assert (refused["nll"].reference is not None) == has_current


def test_members_fitted_from_one_seed_are_refused(bench: Bench) -> None:
    judged = bench.judged(fitted(bench, bench.training, [3, 3]), None)
    refused = [gate for gate in judged.gates if gate.verdict == "refused"]
    assert [gate.gate for gate in refused] == ["disagreement"]
    assert "members 0 and 1 are the same file" in refused[0].reason


def test_a_candidate_with_boxes_out_of_reach_is_refused_and_has_no_figures(bench: Bench, good: Candidate) -> None:
    nets = [fit_member(bench.training, NET, FIT.model_copy(update={"steps": 1}), seed) for seed in (1, 2)]
    with torch.no_grad():
        # of 1 m up: a box 600 m above its object
        nets[1].output.bias[len(CLASSES) + 2] += 600.0
    members = [Member(*export_onnx(net), loss=0.5) for net in nets]
    judged = bench.judged(replace(good, members=tuple(members)), good.load())
    found = verdicts(judged)
    assert [gate for gate, verdict in found.items() if verdict == "refused"] == ["answers"]
    count = len(bench.split.gates)
    answers = next(gate for gate in judged.gates if gate.gate == "answers")
    assert answers.reason.startswith(f"{count} of {count} crops have an answer that is not finite, or a box beyond")
    assert {found[figure.gate] for figure in FIGURES} == {"undetermined"}
    # nor is anybody held against such a one
    against = bench.judged(good, replace(good, members=tuple(members)).load())
    assert verdicts(against)["nll"] == "passed"


def test_a_current_generation_of_another_side_sees_the_crops_at_its_own(bench: Bench, crops: Crops, good: Candidate) -> None:
    older = fitted(bench, crops("pool", SMALLER.side), [4, 5], SMALLER, FIT.model_copy(update={"steps": 1}))
    judged = bench.judged(good, older.load())
    nll = next(gate for gate in judged.gates if gate.gate == "nll")
    assert nll.reference is not None
    assert verdicts(judged)["latency"] != "undetermined"


def test_without_control_crops_figures_are_undetermined_and_members_still_compared(bench: Bench, good: Candidate) -> None:
    nothing = split_control(bench.split.gates.take(np.zeros(0, np.intp)))
    judged = replace(bench, split=nothing).judged(good, None)
    found = verdicts(judged)
    assert {found[figure.gate] for figure in FIGURES} == {"undetermined"}
    assert (found["onnx_parity"], found["disagreement"]) == ("passed", "passed")
    assert "seed_rank_correlation" not in judged.metrics
