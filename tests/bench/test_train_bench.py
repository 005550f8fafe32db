"""The benchmark of training, at tiny sizes."""

from typing import Any

import pytest

from quandary_server.bench.train import kill, loop
from quandary_server.bench.train.parts import TrainPart, part_of
from quandary_server.bench.train.side_by_side import member_figures
from quandary_server.bench.train.start import ARMS, start_figures
from quandary_server.detector.settings import FitSettings
from quandary_server.settings import load_settings
from quandary_server.simulator.settings import FleetSettings

FLEET = FleetSettings(pool_drives=3, control_drives=1, evaluation_drives=0, frames_per_drive=2, seed=1)


@pytest.mark.usefixtures("ray_cluster")
def test_members_at_once_are_held_against_one_alone() -> None:
    figures = {f.name: f for f in member_figures(lambda *_: None, FLEET, FitSettings(steps=16, batch=8), rounds=1)}
    assert figures["members_over_ideal"].reach == "<= 1.15"
    assert len(figures["members_over_ideal"].samples) == 1
    assert all(figure.value > 0 for figure in figures.values())
    assert {part_of(name) for name in figures} == {TrainPart.MEMBERS}


def test_every_way_to_begin_is_judged_in_the_same_figures() -> None:
    figures = {f.name: f.value for f in start_figures(lambda *_: None, FLEET, steps=4, seeds=1)}
    for arm in ARMS:
        of_arm = {name for name in figures if name.startswith(f"start_{arm.name}_")}
        assert {f"start_{arm.name}_{name}" for name in ("macro_recall", "nll", "mutual_information", "cpu_s")} <= of_arm
    assert {part_of(name) for name in figures} == {TrainPart.START}


@pytest.mark.parametrize("trainer", [kill.TRAINER, loop.TRAINER])
def test_trainers_of_the_benchmark_are_set_as_trainers_are(trainer: dict[str, Any]) -> None:
    assert load_settings(trainer=trainer).trainer.gates.slack == 1e6
