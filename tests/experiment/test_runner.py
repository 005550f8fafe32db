"""An experiment from end to end, on the session's Ray."""

import shutil
from pathlib import Path

import pytest
from experiment.conftest import toy_settings

from quandary.errors import CorruptArtefact, InvalidArgument, NotFound
from quandary_server.experiment.folder import ArmPlan, ExperimentFolder
from quandary_server.experiment.replay.rounds import ArmRecord
from quandary_server.experiment.runner import Experiment, estimators_of
from quandary_server.experiment.settings import ExperimentSettings

FLEET = {"pool_drives": 2, "control_drives": 1, "evaluation_drives": 2, "frames_per_drive": 6}
TIMES = {"cpu_seconds": 0.0, "wall_seconds": 0.0}


def settings() -> ExperimentSettings:
    replay = {"pool": {"source": {"kind": "fleet", "fleet": FLEET}}, "methods": {"random": 2, "mc_mi": 1}, "judge": True}
    document = toy_settings(**replay).model_dump(mode="json")
    document["held_out"] = {"pool": document["replays"]["main"]["pool"], "classes": ["Car"], "seeds": 1}
    return ExperimentSettings.model_validate(document)


def run(folder: Path) -> list[tuple[int, int]]:
    """Run it, and return what was told of its progress."""
    seen: list[tuple[int, int]] = []
    Experiment(settings(), ExperimentFolder(folder)).run(lambda *_: None, lambda done, total, _: seen.append((done, total)))
    return seen


def timeless(folder: Path) -> dict[str, str]:
    found = {}
    for record in ExperimentFolder(folder).arms():
        rounds = tuple(r.model_copy(update=TIMES) for r in record.rounds)
        found[f"{record.method}-{record.seed}"] = record.model_copy(update={"rounds": rounds}).model_dump_json()
    return found


@pytest.fixture(scope="module")
def finished(ray_cluster: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("experiment") / "finished"
    seen = run(folder)
    assert seen[-1][0] == seen[-1][1] == len(seen)
    return folder


def test_every_arm_is_complete_and_judged(finished: Path) -> None:
    folder = ExperimentFolder(finished)
    records = list(folder.arms())
    assert sorted((r.method, r.seed) for r in records) == [("mc_mi", 0), ("random", 0), ("random", 1)]
    assert all(record.complete for record in records)
    assert [record.uncertainty is not None for record in records if record.method == "random"] == [True, True]
    (held_out,) = folder.all_held_out()
    assert held_out["crops"] > 0
    assert all(0 <= value <= 1 for by_score in held_out["auroc"].values() for value in by_score.values())
    assert "mutual_information" not in held_out["auroc"]["softmax"]
    assert folder.seconds() > 0


def test_a_run_that_was_stopped_goes_on_where_it_was(finished: Path, tmp_path: Path) -> None:
    again = tmp_path / "again"
    shutil.copytree(finished, again)
    folder, plan = ExperimentFolder(again), ArmPlan("main", "random", 1)
    record = folder.arm(plan)
    assert record is not None
    folder.write_arm(plan, record.model_copy(update={"rounds": record.rounds[:1], "complete": False, "uncertainty": None}))
    (again / ArmPlan("main", "mc_mi", 0).file).unlink()
    shutil.rmtree(again / "held_out")
    seconds = folder.seconds()

    seen = run(again)

    assert seen[-1][0] == seen[-1][1]
    assert timeless(again) == timeless(finished)
    assert folder.all_held_out() == ExperimentFolder(finished).all_held_out()
    assert folder.seconds() > seconds


def test_a_finished_run_has_nothing_to_do(finished: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in (finished / "arms").rglob("*.json")}
    run(finished)
    assert {path: path.stat().st_mtime_ns for path in (finished / "arms").rglob("*.json")} == before


def test_a_folder_of_another_experiment_is_left_alone(finished: Path) -> None:
    other = settings().model_copy(update={"title": "another"})
    with pytest.raises(InvalidArgument, match="its settings differ"):
        ExperimentFolder(finished).claim(other)


def test_torn_and_missing_files_are_named(tmp_path: Path) -> None:
    folder = ExperimentFolder(tmp_path)
    with pytest.raises(NotFound, match="no experiment"):
        folder.settings()
    folder.claim(toy_settings())
    plan = ArmPlan("main", "random", 0)
    folder.write_arm(plan, ArmRecord(replay="main", method="random", seed=0))
    (tmp_path / plan.file).write_text('{"replay": "ma')
    with pytest.raises(CorruptArtefact, match=r"random-000\.json"):
        folder.arm(plan)
    (tmp_path / "settings.json").write_text("{}")
    with pytest.raises(CorruptArtefact, match=r"settings\.json"):
        folder.settings()


def test_random_sampling_is_judged_as_each_method_of_its_replay_is() -> None:
    replay = toy_settings(methods={"random": 1, "mc_mi": 1, "mc_entropy": 1, "ensemble_mi": 1}).replays["main"]
    assert [e.value for e in estimators_of(replay, "random")] == ["ensemble_mc_dropout", "mc_dropout", "deep_ensemble"]
    assert [e.value for e in estimators_of(replay, "mc_mi")] == ["mc_dropout"]
