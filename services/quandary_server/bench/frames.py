"""Frames to measure with: random points, as many in the crops as real frames have there."""

import numpy as np
from numpy.typing import NDArray

from quandary.frames import Frame, Proposal
from quandary.geometry import Calibration, ImageBox

POINTS = 11_500
"""In the camera's view; 16 crops hold some 5,300 of them (85 KB)."""


def cropped_frame(crops: int, seed: int = 0) -> Frame:
    """Return a frame of so many crops, cut by the client."""
    return whole_frame(crops, POINTS, seed).cropped()


def whole_frame(crops: int, points: int, seed: int = 0) -> Frame:
    """Return a frame with a whole cloud of at least 11,500 points; those beyond that lie behind the camera."""
    rng = np.random.default_rng(seed)
    projection = np.array([[720.0, 0, 620, 0], [0, 720, 180, 0], [0, 0, 1, 0]])
    lidar_to_camera = np.array([[0.0, -1, 0, 0], [0, 0, -1, -0.1], [1, 0, 0, -0.3]])
    calibration = Calibration(projection, lidar_to_camera, 1240, 375)
    cloud = _points(rng, POINTS)
    corners = rng.uniform([0, 100], [1100, 200], (crops, 2)).tolist()
    boxes = [ImageBox(x, y, x + rng.uniform(20, 130), y + rng.uniform(20, 120)) for x, y in corners]
    behind = _points(rng, points - POINTS) * np.array([-1, 1, 1, 1], np.float32)
    shuffled = rng.permutation(np.concatenate([cloud, behind])) if len(behind) else cloud
    return Frame(f"frame-{seed}", calibration, [Proposal(box) for box in boxes], points=shuffled)


def _points(rng: np.random.Generator, count: int) -> NDArray[np.float32]:
    return np.column_stack([rng.uniform([5, -30, -2], [70, 30, 2], (count, 3)), rng.random(count)]).astype(np.float32)
