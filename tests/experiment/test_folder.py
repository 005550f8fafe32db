"""The folder of an experiment: whose it is, and what is torn."""

import json
from pathlib import Path
from typing import Any

import pytest
from experiment.conftest import toy_settings

from quandary.errors import CorruptArtefact, FailedPrecondition, InvalidArgument, NotFound
from quandary_server.experiment.differences import told_differences
from quandary_server.experiment.fingerprint import Fingerprint
from quandary_server.experiment.folder import (
    FINGERPRINT,
    SECONDS,
    ArmPlan,
    ExperimentFolder,
    HeldOutPlan,
    arm_plans,
    held_out_plans,
)
from quandary_server.experiment.replay.rounds import ArmRecord, JudgedClasses
from quandary_server.experiment.settings import ExperimentSettings

PLAN = ArmPlan("main", "random", 0)
WITHOUT = HeldOutPlan("Car", 0)
CROPS = {"replays.main": "a", "held_out": "b"}


def with_held_out() -> ExperimentSettings:
    document = toy_settings().model_dump(mode="json")
    document["held_out"] = {"pool": document["replays"]["main"]["pool"], "classes": ["Car", "Van"], "seeds": 2}
    return ExperimentSettings.model_validate(document)


@pytest.fixture
def claimed(tmp_path: Path) -> ExperimentFolder:
    folder = ExperimentFolder(tmp_path / "claimed")
    folder.claim(with_held_out())
    folder.claim_crops(CROPS)
    return folder


def begun_otherwise(folder: ExperimentFolder, *path: str, value: Any) -> None:
    """Make the folder one that was begun with another value in its fingerprint."""
    document = json.loads((folder.root / FINGERPRINT).read_text())
    place = document
    for name in path[:-1]:
        place = place[name]
    assert place[path[-1]] != value
    place[path[-1]] = value
    (folder.root / FINGERPRINT).write_text(json.dumps(document))


def test_a_folder_is_claimed_again_by_the_same_experiment_only(claimed: ExperimentFolder) -> None:
    before = {path: path.read_bytes() for path in claimed.root.iterdir()}
    claimed.claim(with_held_out())
    assert {path: path.read_bytes() for path in claimed.root.iterdir()} == before
    for any_code in (False, True):
        with pytest.raises(InvalidArgument, match=r"what differs: settings \(title: toy there, another here\)$"):
            claimed.claim(with_held_out().model_copy(update={"title": "another"}), any_code=any_code)


def test_every_field_that_differs_is_named_with_both_values(claimed: ExperimentFolder) -> None:
    document = with_held_out().model_dump(mode="json")
    main = document["replays"]["main"]
    main["budgets"][2], main["methods"] = 30, {"random": 2, "mc_mi": 1}
    document["held_out"] = None
    with pytest.raises(InvalidArgument) as caught:
        claimed.claim(ExperimentSettings.model_validate(document))
    for told in (
        "replays.main.methods.mi_box: 2 there, nothing here",
        "replays.main.methods.mc_mi: nothing there, 1 here",
        "replays.main.budgets.2: 24 there, 30 here",
        "held_out: {'pool': ",
    ):
        assert told in caught.value.message


def test_many_fields_that_differ_are_counted_and_long_values_are_cut() -> None:
    ours = toy_settings(budgets=tuple(range(6, 30, 2)))
    theirs = toy_settings(budgets=tuple(range(7, 31, 2)), title="x" * 10_000)
    told = told_differences(ours, theirs)
    assert told.startswith(f"replays.main.title: toy there, {'x' * 39}… here; replays.main.budgets.0: 6 there, 7 here; ")
    assert told.endswith("; and 7 more")
    assert told_differences(ours, ours) == ""


def test_the_classes_that_are_judged_are_kept(claimed: ExperimentFolder) -> None:
    assert claimed.judged_classes() == {}
    judged = {"main": JudgedClasses(judged={"Car": 30}, left_out={"Tram": 4})}
    claimed.write_judged_classes(judged)
    assert claimed.judged_classes() == judged


def test_a_folder_is_nobodys_until_its_crops_are_known(tmp_path: Path) -> None:
    folder, mended = ExperimentFolder(tmp_path), with_held_out().model_copy(update={"title": "mended"})
    folder.claim(with_held_out())
    folder.claim(mended)
    assert folder.settings() == mended
    folder.write_arm(PLAN, ArmRecord(replay="main", method="random", seed=0))
    with pytest.raises(InvalidArgument, match=r"what differs: settings \(title: mended there, toy here\)$"):
        folder.claim(with_held_out())


def test_one_at_a_time_runs_in_a_folder(claimed: ExperimentFolder) -> None:
    with claimed.alone(), pytest.raises(FailedPrecondition, match="an experiment is running in"), claimed.alone():
        pass
    with claimed.alone():
        claimed.claim(with_held_out())


def test_other_code_is_told_and_gone_on_with_where_that_is_wanted(claimed: ExperimentFolder) -> None:
    begun_otherwise(claimed, "code", value="0" * 64)
    with pytest.raises(InvalidArgument, match=r"a new folder, .* what differs: code \(--any-code"):
        claimed.claim(with_held_out())
    assert claimed.other_code() == []
    for _ in range(2):
        claimed.claim(with_held_out(), any_code=True)
    assert claimed.other_code() == [Fingerprint.of(with_held_out()).code]
    with pytest.raises(InvalidArgument, match=r"what differs: settings \(title: toy there, another here\), code$"):
        claimed.claim(with_held_out().model_copy(update={"title": "another"}))


@pytest.mark.parametrize(
    ("path", "value", "part"),
    [
        (("methods", "mi_box", "plan", "chance"), 0.25, "method mi_box"),
        (("methods", "mi_box", "acquisition"), "mutual_information", "method mi_box"),
        (("methods", "random", "estimator"), "softmax", "method random"),
        (("box_weight",), 1.0, "box weight"),
    ],
)
def test_another_query_is_told_and_never_gone_on_with(
    claimed: ExperimentFolder, path: tuple[str, ...], value: object, part: str
) -> None:
    begun_otherwise(claimed, *path, value=value)
    for any_code in (False, True):
        with pytest.raises(InvalidArgument, match=rf"a new folder, .* what differs: {part}$"):
            claimed.claim(with_held_out(), any_code=any_code)


def test_a_folder_that_does_not_say_how_it_was_begun_is_read_and_not_gone_on_with(claimed: ExperimentFolder) -> None:
    claimed.write_arm(PLAN, ArmRecord(replay="main", method="random", seed=0))
    (claimed.root / FINGERPRINT).unlink()
    assert claimed.settings() == with_held_out()
    assert [record.method for record in claimed.arms()] == ["random"]
    with pytest.raises(InvalidArgument, match="does not say which code and methods"):
        claimed.claim(with_held_out(), any_code=True)


def test_other_crops_are_told_by_their_use(claimed: ExperimentFolder) -> None:
    claimed.claim_crops({"held_out": "b", "replays.main": "a"})
    with pytest.raises(InvalidArgument, match=r"what differs: crops of replays\.main$"):
        claimed.claim_crops({"replays.main": "c", "held_out": "b"})


def test_trainings_without_a_class_that_are_missing_are_told(claimed: ExperimentFolder) -> None:
    assert claimed.missing_held_out() == held_out_plans(with_held_out())
    for plan in claimed.missing_held_out()[:3]:
        claimed.write_held_out(plan, {"class": plan.class_name, "seed": plan.seed})
    assert claimed.missing_held_out() == [HeldOutPlan("Van", 1)]


def test_arms_are_planned_seed_by_seed() -> None:
    plans = arm_plans(toy_settings(methods={"random": 2, "mc_mi": 1}))
    assert [(plan.method, plan.seed) for plan in plans] == [("random", 0), ("mc_mi", 0), ("random", 1)]


@pytest.mark.parametrize("torn", ['{"replay": "ma', "", "[1]", "\x00"])
def test_torn_files_are_named_with_what_to_do(claimed: ExperimentFolder, torn: str) -> None:
    claimed.write_arm(PLAN, ArmRecord(replay="main", method="random", seed=0))
    claimed.write_held_out(WITHOUT, {"class": "Car"})
    for name in (PLAN.file, WITHOUT.file, SECONDS, "settings.json", FINGERPRINT):
        (claimed.root / name).write_text(torn)

    with pytest.raises(CorruptArtefact, match=r"random-000\.json is no record of an arm; delete it"):
        claimed.arm(PLAN)
    for read in (lambda: claimed.held_out(WITHOUT), claimed.all_held_out):
        with pytest.raises(CorruptArtefact, match=r"Car-000\.json is no record of a training without a class; delete it"):
            read()
    with pytest.raises(CorruptArtefact, match=r"seconds\.json does not tell the time spent; delete it"):
        claimed.seconds()
    with pytest.raises(CorruptArtefact, match=r"settings\.json"):
        claimed.settings()


def test_other_files_beside_the_records_are_passed_over(claimed: ExperimentFolder) -> None:
    claimed.write_arm(PLAN, ArmRecord(replay="main", method="random", seed=0))
    claimed.write_held_out(WITHOUT, {"class": "Car"})
    for name in ("arms/main/notes.json", "arms/main/random-000 (copy).json", "held_out/Car.json"):
        (claimed.root / name).write_text("{")
    assert [record.method for record in claimed.arms()] == ["random"]
    assert claimed.all_held_out() == [{"class": "Car"}]


def test_a_folder_without_an_experiment_is_told(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="no experiment"):
        ExperimentFolder(tmp_path).settings()
    assert ExperimentFolder(tmp_path).seconds() == 0


def test_torn_claims_are_named(claimed: ExperimentFolder) -> None:
    for path in claimed.root.glob("*.json"):
        if path.name != "settings.json":
            path.write_text("{")
    with pytest.raises(CorruptArtefact, match=r"fingerprint\.json .*begin a new folder"):
        claimed.claim(with_held_out())
    with pytest.raises(CorruptArtefact, match=r"crops\.json .*begin a new folder"):
        claimed.claim_crops({"replays.main": "a"})
