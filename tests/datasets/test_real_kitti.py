"""The reader on real KITTI frames, where QUANDARY_KITTI names a folder of them; they never enter the repository."""

import os
from pathlib import Path

import numpy as np
import pytest

from quandary.frames import Proposal
from quandary.geometry import Calibration
from quandary_server.datasets.clouds import read_cloud
from quandary_server.datasets.kitti import KittiFolder
from quandary_server.datasets.matching import OutcomeKind, match_labels
from quandary_server.datasets.proposals import detection_proposals, label_proposals

pytestmark = pytest.mark.skipif("QUANDARY_KITTI" not in os.environ, reason="QUANDARY_KITTI names no folder of real frames")


@pytest.fixture(scope="module")
def kitti() -> KittiFolder:
    return KittiFolder(Path(os.environ["QUANDARY_KITTI"]))


def test_every_frame_is_read_and_lies_in_its_image(kitti: KittiFolder) -> None:
    entries = kitti.frames()
    assert len(entries) == sum(len(kitti.frames(split)) for split in ("pool", "control", "evaluation")) > 0
    for entry in entries[::20]:
        frame = kitti.read(entry.frame_id)
        cloud = read_cloud(frame.cloud_path)
        assert len(cloud) == entry.points
        pixels, depth = frame.calibration.project(cloud)
        # The clouds are cut to the camera's view, so that a wrong matrix or size would put points far outside.
        assert depth.min() > 0
        assert pixels.min() > -20
        assert pixels[:, 0].max() < frame.calibration.image_width_px + 20
        assert pixels[:, 1].max() < frame.calibration.image_height_px + 20


def test_every_calibration_passes_also_rounded_to_32_bits(kitti: KittiFolder) -> None:
    for entry in kitti.frames():
        exact = kitti.read(entry.frame_id).calibration
        projection, lidar_to_camera = (m.astype(np.float32) for m in (exact.projection, exact.lidar_to_camera))
        rounded = Calibration(projection.astype(np.float64), lidar_to_camera.astype(np.float64), 1242, 375)
        assert rounded.focal_px == pytest.approx(exact.focal_px, rel=1e-6)


def test_nearly_every_label_finds_its_own_2d_box(kitti: KittiFolder) -> None:
    own = total = 0
    for entry in kitti.frames():
        frame = kitti.read(entry.frame_id)
        outcomes = match_labels(frame.labels, [Proposal(box) for box in frame.label_boxes], frame.calibration)
        own += sum(outcome.label is label for outcome, label in zip(outcomes, frame.labels.labels, strict=True))
        total += len(outcomes)
    assert own / total > 0.97


def test_nearly_every_box_holds_points(kitti: KittiFolder) -> None:
    empty = total = 0
    for entry in kitti.frames()[::10]:
        frame = kitti.read(entry.frame_id)
        cloud = read_cloud(frame.cloud_path)
        empty += sum(not label.box.contains(cloud).any() for label in frame.labels.labels)
        total += len(frame.labels.labels)
    assert empty / total < 0.05


def test_a_third_of_the_made_proposals_is_background_and_most_detections_are_objects(kitti: KittiFolder) -> None:
    made, detected = [], []
    for entry in kitti.frames():
        frame = kitti.read(entry.frame_id)
        made += match_labels(frame.labels, label_proposals(frame, seed=0), frame.calibration)
        detected += match_labels(frame.labels, detection_proposals(frame, 0.5), frame.calibration)
    assert sum(outcome.kind is OutcomeKind.BACKGROUND for outcome in made) / len(made) == pytest.approx(1 / 3, abs=0.05)
    assert not detected or sum(outcome.kind is OutcomeKind.OBJECT for outcome in detected) / len(detected) > 0.85
