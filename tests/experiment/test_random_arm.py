from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.records import record_of

from quandary.labels import FrameLabels
from quandary.options import ScoringOptions
from quandary_server.detector.examples import Examples
from quandary_server.detector.settings import FitSettings, NetSettings
from quandary_server.experiment.demo.frames import Frames
from quandary_server.experiment.demo.random_arm import RandomArm
from quandary_server.trainer.calibration import split_control

CROPS = [1, 9, 2, 0, 8, 3, 7, 4, 6, 5] * 4


@pytest.fixture(scope="module")
def frames(tmp_path_factory: pytest.TempPathFactory, make_frame: Any) -> Frames:
    folder: Path = tmp_path_factory.mktemp("clouds")
    records = tuple(record_of(make_frame(f"f{i}", i, proposals), folder) for i, proposals in enumerate(CROPS))
    return Frames({"pool": records}, {record.frame_id: FrameLabels(record.frame_id) for record in records})


def arm_of(frames: Frames, seed: int) -> RandomArm:
    control = split_control(Examples.joined([]))
    return RandomArm(frames, ["f0"], NetSettings(), FitSettings(), seed, control, ScoringOptions())


def test_it_ends_as_near_to_the_asked_as_frames_allow_and_not_above_as_a_rule(frames: Frames) -> None:
    off = []
    for seed in range(20):
        arm = arm_of(frames, seed)
        for crops in (30, 55, 90, 130):
            before = arm.crops
            new = arm.label_up_to(crops)
            assert len(new) == arm.crops - before
            off.append(arm.crops - crops)
    assert max(map(abs, off)) <= 9 / 2
    assert abs(np.mean(off)) < 0.7
    assert min(off) < 0 < max(off)


def test_a_pool_that_is_used_up_is_no_error(frames: Frames) -> None:
    arm = arm_of(frames, seed=0)
    arm.label_up_to(10_000)
    assert arm.crops == sum(CROPS)
