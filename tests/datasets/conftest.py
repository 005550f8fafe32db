"""A camera with plain numbers, and a small folder in the KITTI object layout."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from quandary.frames import Proposal
from quandary.geometry import Box3D, Calibration, ImageBox
from quandary.labels import Label
from quandary_server.datasets.index import FrameEntry, write_index
from quandary_server.datasets.labels import LabelFile
from quandary_server.datasets.writing import write_detections, write_frame

Edit = Callable[[str, str, str], None]


@pytest.fixture
def calibration() -> Calibration:
    """A camera at the LiDAR's origin that looks along x: 700 px of focal length, 1200 x 400 px."""
    projection = np.array([[700.0, 0.0, 600.0, 0.0], [0.0, 700.0, 200.0, 0.0], [0.0, 0.0, 1.0, 0.0]])
    lidar_to_camera = np.array([[0.0, -1.0, 0.0, 0.0], [0.0, 0.0, -1.0, 0.0], [1.0, 0.0, 0.0, 0.0]])
    return Calibration(projection, lidar_to_camera, 1200, 400)


@pytest.fixture
def folder(tmp_path: Path, calibration: Calibration) -> Path:
    """Two drives: b with frames 000001 and 000002 (its second and first sweep), a with frame 000003."""
    car = Label("Car", Box3D(20.0, 3.0, -1.0, 4.0, 1.6, 1.5, 0.3), 0.25, 1)
    box = calibration.project_box(car.box)
    assert box is not None
    content = LabelFile((car,), (box,), (ImageBox(10, 180, 60, 210),))
    points = np.array([[20, 3, -1, 0.5], [30, -4, 0, 0.25]], np.float32)
    for frame_id in ("000001", "000002", "000003"):
        write_frame(tmp_path, frame_id, points, calibration, content)
    entries = [
        FrameEntry("000001", "b", 10, 2, split="pool"),
        FrameEntry("000002", "b", 0, 2, split="pool"),
        FrameEntry("000003", "a", 5, 2, split="evaluation"),
    ]
    write_index(tmp_path, entries)
    write_detections(tmp_path, "all", {"000001": [Proposal(ImageBox(400, 180, 600, 260), 0.9, "Car")]})
    return tmp_path


@pytest.fixture
def edit(folder: Path) -> Edit:
    """Replace text in a file below the folder's training."""

    def replace(name: str, old: str, new: str) -> None:
        path = folder / "training" / name
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new, 1))

    return replace
