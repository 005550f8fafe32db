"""Frames to measure with: random points, as many in the crops as real frames have there."""

import numpy as np

from quandary.frames import Frame, Proposal
from quandary.geometry import Calibration, ImageBox

POINTS = 11_500
"""Of which 16 crops hold some 5,300 (85 KB)."""


def cropped_frame(crops: int, seed: int = 0, points: int = POINTS) -> Frame:
    """Return a frame of so many crops, cut by the client."""
    rng = np.random.default_rng(seed)
    projection = np.array([[720.0, 0, 620, 0], [0, 720, 180, 0], [0, 0, 1, 0]])
    lidar_to_camera = np.array([[0.0, -1, 0, 0], [0, 0, -1, -0.1], [1, 0, 0, -0.3]])
    calibration = Calibration(projection, lidar_to_camera, 1240, 375)
    cloud = np.column_stack([rng.uniform([5, -30, -2], [70, 30, 2], (points, 3)), rng.random(points)]).astype(np.float32)
    corners = rng.uniform([0, 100], [1100, 200], (crops, 2)).tolist()
    boxes = [ImageBox(x, y, x + rng.uniform(20, 130), y + rng.uniform(20, 120)) for x, y in corners]
    return Frame(f"frame-{seed}", calibration, [Proposal(box) for box in boxes], points=cloud).cropped()
