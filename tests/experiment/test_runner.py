"""An experiment from end to end, on the session's Ray."""

import os
import shutil
import signal
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import pytest
from experiment.conftest import toy_settings

from quandary.errors import InvalidArgument
from quandary.labels import LABEL_CLASSES
from quandary_server.experiment.folder import ArmPlan, ExperimentFolder
from quandary_server.experiment.pools.build import KITTI_VARIABLE
from quandary_server.experiment.pools.crops import read_pool, write_pool
from quandary_server.experiment.replay.figures import MIN_CROPS_OF_CLASS
from quandary_server.experiment.results.figures import experiment_figures
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


def untold(*_: object) -> None:
    """Nobody watches."""


def with_pools_of(finished: Path, folder: Path) -> Path:
    """Return a new folder in which the pools of a run are there already."""
    shutil.copytree(finished / "pools", folder / "pools")
    return folder


def arm_workers() -> list[psutil.Process]:
    """Return the workers that run an arm now: Ray names them after their task."""
    found = []
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):  # some end meanwhile
            if "".join(process.cmdline()).startswith("ray::_arm_task"):
                found.append(process)
    return found


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
    judged = folder.judged_classes()["main"]
    assert len(judged.judged) >= 2
    assert all(crops >= MIN_CROPS_OF_CLASS for crops in judged.judged.values())
    assert not judged.judged.keys() & judged.left_out.keys()
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


def test_the_trainings_without_a_class_are_run_alone(finished: Path, tmp_path: Path) -> None:
    folder = ExperimentFolder(with_pools_of(finished, tmp_path / "alone"))
    Experiment(settings().part(["held_out"], []), folder).run(untold, untold)
    assert folder.all_held_out() == ExperimentFolder(finished).all_held_out()
    assert not list(folder.arms())
    assert any(figure.name.startswith("auroc_") for figure in experiment_figures(folder))


def test_a_finished_run_has_nothing_to_do(finished: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in (finished / "arms").rglob("*.json")}
    run(finished)
    assert {path: path.stat().st_mtime_ns for path in (finished / "arms").rglob("*.json")} == before


def test_another_experiment_is_refused_before_anything_is_built(finished: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in finished.rglob("*")}
    other = settings().model_copy(update={"title": "another"})
    with pytest.raises(InvalidArgument, match=r"what differs: settings \(title: toy there, another here\)"):
        Experiment(other, ExperimentFolder(finished)).run(untold, untold)
    assert {path: path.stat().st_mtime_ns for path in finished.rglob("*")} == before


def test_an_arm_whose_worker_is_killed_ends_as_one_that_was_not_and_counts_its_rounds_once(
    finished: Path, tmp_path: Path
) -> None:
    folder = with_pools_of(finished, tmp_path / "killed")
    seen: list[tuple[int, int, str]] = []
    killed: list[int] = []

    def progress(done: int, total: int, what: str) -> None:
        seen.append((done, total, what))
        if not killed:
            killed.extend(worker.pid for worker in arm_workers())
            for pid in killed:
                os.kill(pid, signal.SIGKILL)

    Experiment(settings(), ExperimentFolder(folder)).run(untold, progress)
    assert killed
    assert timeless(folder) == timeless(finished)
    assert [done for done, _, _ in seen] == list(range(1, seen[-1][1] + 1))
    assert len({what for _, _, what in seen}) == len(seen)


def test_a_run_that_is_interrupted_keeps_its_rounds_and_goes_on_from_them(finished: Path, tmp_path: Path) -> None:
    folder = with_pools_of(finished, tmp_path / "interrupted")

    def interrupt(done: int, *_: object) -> None:
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Experiment(settings(), ExperimentFolder(folder)).run(untold, interrupt)
    assert sum(len(record.rounds) for record in ExperimentFolder(folder).arms()) == 3

    seen = run(folder)
    assert seen[-1][0] == seen[-1][1]
    assert timeless(folder) == timeless(finished)


def test_the_time_spent_on_pools_counts(ray_cluster: str, tmp_path: Path) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    folder = ExperimentFolder(tmp_path / "pools")
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        Experiment(settings(), folder).run(interrupt, untold)
    assert 0 < folder.seconds() <= time.monotonic() - began
    assert not list(folder.arms())
    assert not list(folder.pools.glob("pool-*"))


def test_a_folder_that_is_missing_is_told_before_any_pool_is_built(
    ray_cluster: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(KITTI_VARIABLE, raising=False)
    document = settings().model_dump(mode="json")
    document["replays"]["real"] = document["replays"]["main"] | {"pool": {"source": {"kind": "folder"}}}
    folder = ExperimentFolder(tmp_path / "real")
    with pytest.raises(InvalidArgument, match=KITTI_VARIABLE):
        Experiment(ExperimentSettings.model_validate(document), folder).run(untold, untold)
    assert not folder.pools.exists()


def test_a_budget_beyond_the_pool_is_told_before_anything_is_trained(finished: Path, tmp_path: Path) -> None:
    folder = with_pools_of(finished, tmp_path / "refused")
    document = settings().model_dump(mode="json")
    document["replays"]["main"] |= {"budgets": [10**5, 10**6], "stop_at": None}
    with pytest.raises(InvalidArgument, match=r"replays\.main\.budgets\.0 is 100000, must be at most \d+"):
        Experiment(ExperimentSettings.model_validate(document), ExperimentFolder(folder)).run(untold, untold)
    assert not (folder / "arms").exists()


def test_a_class_that_is_never_shown_is_told_before_anything_is_trained(finished: Path, tmp_path: Path) -> None:
    folder = with_pools_of(finished, tmp_path / "refused")
    (path,) = (folder / "pools").glob("pool-*.npz")
    shown = set(read_pool(path).evaluation.examples.classes.tolist())
    missing = next(name for i, name in enumerate(LABEL_CLASSES) if i not in shown)
    document = settings().model_dump(mode="json")
    document["held_out"]["classes"] = ["Car", missing]
    with pytest.raises(InvalidArgument, match=rf"held_out\.classes\.1 is {missing}, 0 of \d+ crops"):
        Experiment(ExperimentSettings.model_validate(document), ExperimentFolder(folder)).run(untold, untold)
    assert not (folder / "arms").exists()


def test_arms_are_not_gone_on_with_on_other_crops(finished: Path, tmp_path: Path) -> None:
    again = tmp_path / "again"
    shutil.copytree(finished, again)
    (path,) = (again / "pools").glob("pool-*.npz")
    pool = read_pool(path)
    write_pool(path, replace(pool, pool=pool.pool.take(np.arange(len(pool.pool))[::-1])))
    with pytest.raises(InvalidArgument, match=r"what differs: crops of held_out, replays\.main$"):
        run(again)


def test_random_sampling_is_judged_as_each_method_of_its_replay_is() -> None:
    replay = toy_settings(methods={"random": 1, "mc_mi": 1, "mc_entropy": 1, "ensemble_mi": 1}).replays["main"]
    assert [e.value for e in estimators_of(replay, "random")] == ["ensemble_mc_dropout", "mc_dropout", "deep_ensemble"]
    assert [e.value for e in estimators_of(replay, "mc_mi")] == ["mc_dropout"]
