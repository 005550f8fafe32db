"""Runs on a real Ray: from labels in the store to a generation in the registry."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from quandary.errors import WrongState
from quandary.options import ScoringOptions
from quandary_server.clock import now
from quandary_server.detector.assessment import assess
from quandary_server.inference.generation import LoadedGeneration
from quandary_server.registry.directory import Artefacts
from quandary_server.registry.roster import Heartbeat
from quandary_server.settings import Settings
from quandary_server.settings.gates import GateSettings
from quandary_server.settings.promotion import PromotionPolicy
from quandary_server.storage.run_values import Run, RunStage, RunState, RunTrigger
from quandary_server.storage.snapshots import read_snapshot
from quandary_server.storage.store import Store
from quandary_server.trainer.labelled import examples_of_snapshot
from quandary_server.trainer.scheduler import Scheduler

GATES = [
    *("onnx_parity", "answers", "disagreement", "macro_recall", "nll", "ece", "centre_error", "ause_class", "ause_centre"),
    "latency",
]
UNTOLD = {"centre_error", "ause_class", "ause_centre", "latency"}
"""What 80 objects, a handful of errors and no current generation leave undetermined."""

pytestmark = pytest.mark.usefixtures("ray_cluster")


class Trainer:
    """A scheduler over store and registry, and what it told."""

    def __init__(self, settings: Settings, store: Store) -> None:
        self.settings, self.store = settings, store
        self.registry = settings.open_registry()
        self.ended: list[Run] = []
        self.scheduler = Scheduler(store, self.registry, settings, now, self.ended.append)

    def run(self, **asked: Any) -> Run:
        self.scheduler.start(self.scheduler.plan(**asked), RunTrigger.CALL, "test")
        return self.wait()

    def wait(self) -> Run:
        self.scheduler.join(timedelta(minutes=3))
        return self.ended[-1]


@pytest.fixture
def trainer(settings: Settings, store: Store) -> Trainer:
    return Trainer(settings, store)


def test_the_first_run_needs_no_predecessor_and_the_next_names_its_parent(trainer: Trainer, label: Any) -> None:
    label(8)
    label(40, queue="control")
    first = trainer.run(steps=100)
    assert (first.state, first.error, first.stage) == (RunState.SUCCEEDED, "", RunStage.DONE)
    assert (first.training_frames, first.training_crops, first.control_crops) == (8, 24, 120)
    assert first.requester == "test"
    pointer = trainer.registry.pointer()
    assert pointer is not None
    assert pointer.generation == first.generation
    artefacts = trainer.registry.load(first.generation)
    manifest = artefacts.manifest
    assert (manifest.run, manifest.parent, manifest.training_crops, len(artefacts.members)) == (first.id, "", 24, 2)
    assert artefacts.members[0] != artefacts.members[1]
    snapshot = read_snapshot(trainer.settings.snapshots / f"{first.id}.parquet")
    assert manifest.snapshot_digest == snapshot.digest
    verdicts = {gate["gate"]: gate["verdict"] for gate in first.gates}
    assert list(verdicts) == GATES
    assert {gate for gate, verdict in verdicts.items() if verdict == "undetermined"} == UNTOLD
    assert "refused" not in verdicts.values()
    assert {"macro_recall", "nll", "ece", "seed_rank_correlation", "seconds_training"} <= set(first.metrics)
    assert (manifest.temperature, manifest.calibration[:42]) == (1.0, "not calibrated: of 120 labelled crops of c")
    assert manifest.cascade is not None
    assert manifest.cascade.crops == 120
    # two members draw five masks at once, which is all that the settings ask for
    assert (first.metrics["cascade_share"], first.metrics["cascade_top_decile_overlap"]) == (1.0, 1.0)

    label(4)
    second = trainer.run(steps=150)
    assert (second.state, second.error) == (RunState.SUCCEEDED, "")
    assert second.training_crops == 36
    assert trainer.registry.manifest(second.generation).parent == first.generation
    assert second.metrics["shadow_frames"] == 0.0, "no frame was scored yet"
    assert "seconds_shadow" in second.metrics
    told = {gate["gate"]: gate["verdict"] for gate in second.gates}
    assert (told["nll"], told["latency"]) == ("passed", "passed")


def test_training_learns_and_the_same_seed_gives_the_same_members(trainer: Trainer, store: Store, label: Any) -> None:
    label(30)
    runs = [trainer.run(steps=150, seed=5, promote=False) for _ in range(2)]
    first, second = (trainer.registry.load(run.generation) for run in runs)
    assert first.members == second.members
    assert first.manifest.cascade == second.manifest.cascade
    assert first.manifest.cascade is not None
    assert first.manifest.cascade.crops == first.manifest.training_crops
    assert trainer.registry.pointer() is None
    examples = examples_of_snapshot(store.labels.all(), trainer.settings.trainer.net.side).training
    figures = assess(LoadedGeneration(first), examples, ScoringOptions()).figures()
    assert figures["accuracy"] > 0.9


def test_too_few_labels_are_refused_with_what_is_missing(trainer: Trainer, label: Any) -> None:
    label(3)
    run = trainer.run()
    assert run.state is RunState.FAILED
    assert "training_crops is 9, must be at least 12" in run.error
    assert trainer.registry.generations() == []


def test_a_candidate_that_a_gate_refuses_is_registered_and_not_promoted(settings: Settings, store: Store, label: Any) -> None:
    label(8)
    label(40, queue="control")
    gates = GateSettings(nll_floor=1e-6)
    strict = settings.model_copy(update={"trainer": settings.trainer.model_copy(update={"gates": gates})})
    trainer = Trainer(strict, store)
    run = trainer.run()
    assert run.state is RunState.REFUSED
    assert "nll: the NLL is" in run.error
    assert trainer.registry.pointer() is None
    assert trainer.registry.manifest(run.generation).refused


def test_a_candidate_taught_nonsense_is_refused_against_the_current_generation(trainer: Trainer, label: Any) -> None:
    label(30)
    label(40, queue="control")
    good = trainer.run(steps=150)
    assert good.state is RunState.SUCCEEDED
    label(60, shuffled=True)
    bad = trainer.run(steps=150)
    assert bad.state is RunState.REFUSED
    assert "worse than the current generation" in bad.error
    pointer = trainer.registry.pointer()
    assert pointer is not None
    assert pointer.generation == good.generation


def test_a_current_generation_that_is_torn_is_replaced_by_what_its_labels_teach(
    trainer: Trainer, generation: Artefacts, label: Any
) -> None:
    label(8)
    members = {f"member-{k}.onnx": member for k, member in enumerate(generation.members)}
    torn = trainer.registry.register(
        members, lambda n, name, files: generation.manifest.model_copy(update={"number": n, "generation": name, "files": files})
    ).generation
    trainer.registry.promote(torn, None, now(), "test")
    (trainer.settings.registry_directory / "models" / torn / "member-1.onnx").write_bytes(b"torn")
    run = trainer.run(steps=1)
    assert (run.state, run.error) == (RunState.SUCCEEDED, "")
    told = [line.text for line in trainer.store.run_log.lines(run.id)]
    assert f"nothing can be held against {torn}, the current generation: {torn}/member-1.onnx fails its digest" in told
    pointer = trainer.registry.pointer()
    assert pointer is not None
    assert (pointer.generation, pointer.previous) == (run.generation, torn)


def test_a_replica_that_does_not_follow_fails_the_run_by_name(trainer: Trainer, label: Any) -> None:
    label(8)
    trainer.registry.roster.beat(Heartbeat(replica="stuck", generation="", beaten=now(), problem="disk is full"))
    run = trainer.run()
    assert run.state is RunState.FAILED
    assert "stuck (disk is full)" in run.error
    assert run.error.startswith(f"{run.generation} is current, and there is none to roll back to, but 1 of 1 replicas")
    pointer = trainer.registry.pointer()
    assert pointer is not None
    assert pointer.generation == run.generation


@pytest.mark.parametrize(("policy", "says"), [("ask", "waits for a person: quandary generations promote "), ("off", "")])
def test_where_the_policy_is_not_auto_the_generation_waits(
    settings: Settings, store: Store, label: Any, policy: str, says: str
) -> None:
    label(8)
    update = {"promotion": PromotionPolicy(policy)}
    trainer = Trainer(settings.model_copy(update={"trainer": settings.trainer.model_copy(update=update)}), store)
    run = trainer.run(steps=1)
    assert (run.state, run.error) == (RunState.SUCCEEDED, says and says + run.generation)
    assert trainer.registry.generations() == [run.generation]
    assert trainer.registry.pointer() is None


def test_one_run_at_a_time(trainer: Trainer, store: Store) -> None:
    going = store.runs.create(trigger=RunTrigger.CALL, now=now())
    with pytest.raises(WrongState, match=f"{going.id} is running"):
        trainer.run()


def test_enough_new_labels_start_a_run_once(settings: Settings, store: Store, label: Any) -> None:
    trainer = Trainer(settings.model_copy(update={"trainer": settings.trainer.model_copy(update={"new_crops": 24})}), store)
    label(7)
    trainer.scheduler.look()
    assert store.runs.list().items == ()
    label(1)
    trainer.scheduler.look()
    run = trainer.wait()
    assert (run.state, run.trigger) == (RunState.SUCCEEDED, RunTrigger.LABELS)
    trainer.scheduler.look()
    assert len(store.runs.list().items) == 1
    label(2, queue="control")
    assert trainer.scheduler.new_labels().crops == 0


def test_where_none_is_resumed_a_run_whose_trainer_died_fails_and_its_labels_are_new(
    settings: Settings, store: Store, label: Any
) -> None:
    update = {"new_crops": 24, "resumptions": 0}
    trainer = Trainer(settings.model_copy(update={"trainer": settings.trainer.model_copy(update=update)}), store)
    label(8)
    long_ago = now() - timedelta(minutes=1)
    dead = store.runs.create(trigger=RunTrigger.LABELS, holder="dead", now=long_ago)
    store.runs.update(dead.id, now=long_ago, stage=RunStage.TRAINING, label_sequence=8)
    trainer.scheduler.look()
    assert store.runs.get(dead.id).state is RunState.FAILED
    assert "interrupted" in store.runs.get(dead.id).error
    again = trainer.wait()
    assert (again.state, again.trigger) == (RunState.SUCCEEDED, RunTrigger.LABELS)
    assert again.id != dead.id


def test_a_run_that_failed_for_its_data_is_not_tried_again_and_again(settings: Settings, store: Store, label: Any) -> None:
    update = {"new_crops": 6, "min_crops": 1000}
    trainer = Trainer(settings.model_copy(update={"trainer": settings.trainer.model_copy(update=update)}), store)
    label(2)
    trainer.scheduler.look()
    assert trainer.wait().state is RunState.FAILED
    trainer.scheduler.look()
    assert len(store.runs.list().items) == 1


def test_a_run_that_failed_before_its_snapshot_waits_for_further_labels(settings: Settings, store: Store, label: Any) -> None:
    update = {"new_crops": 6, "resumptions": 0}
    trainer = Trainer(settings.model_copy(update={"trainer": settings.trainer.model_copy(update=update)}), store)
    settings.snapshots.parent.mkdir(parents=True, exist_ok=True)
    settings.snapshots.write_text("a file, where the folder should be")
    label(2)
    for _ in range(3):
        trainer.scheduler.look()
        run = trainer.wait()
        assert run.state is RunState.FAILED
        assert run.error == f"the label snapshot {settings.snapshots / run.id}.parquet cannot be written: File exists"
    assert len(store.runs.list().items) == 1
    label(2)
    trainer.scheduler.look()
    trainer.wait()
    assert len(store.runs.list().items) == 2


def test_labels_whose_clouds_cannot_be_read_any_more_are_left_out(trainer: Trainer, label: Any, tmp_path: Path) -> None:
    label(8)
    for cloud in (tmp_path / "clouds").glob("*.bin"):
        points = np.fromfile(cloud, "<f4")
        points[0] = np.nan
        points.tofile(cloud)
    run = trainer.run()
    assert run.state is RunState.FAILED
    assert "training_crops is 0" in run.error
