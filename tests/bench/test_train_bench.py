"""The benchmark of training, at tiny sizes."""

import pytest

from quandary_server.bench.train.side_by_side import member_figures
from quandary_server.bench.train.start import ARMS, start_figures
from quandary_server.detector.settings import FitSettings
from quandary_server.simulator.settings import FleetSettings

FLEET = FleetSettings(pool_drives=3, control_drives=1, evaluation_drives=0, frames_per_drive=2, seed=1)


@pytest.mark.usefixtures("ray_cluster")
def test_members_at_once_are_held_against_one_alone() -> None:
    figures = {f.name: f for f in member_figures(lambda *_: None, FLEET, FitSettings(steps=16, batch=8), rounds=1)}
    assert figures["members_over_ideal"].reach == "<= 1.15"
    assert len(figures["members_over_ideal"].samples) == 1
    assert all(figure.value > 0 for figure in figures.values())


def test_every_way_to_begin_is_judged_in_the_same_figures() -> None:
    figures = {f.name: f.value for f in start_figures(lambda *_: None, FLEET, steps=4, seeds=1)}
    for arm in ARMS:
        of_arm = {name for name in figures if name.startswith(f"start_{arm.name}_")}
        assert {f"start_{arm.name}_{name}" for name in ("macro_recall", "nll", "mutual_information", "cpu_s")} <= of_arm
