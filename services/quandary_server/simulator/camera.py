"""The camera beside the LiDAR: a calibration of KITTI's kind."""

import numpy as np
from scipy.spatial.transform import Rotation

from quandary.geometry import Calibration

FOCAL_PX = 720.0
CENTRE_PX = (615.0, 174.0)
SIZE_PX = (1242, 375)
ROTATION_DEG = (0.45, -0.3, 0.25)


def camera_calibration() -> Calibration:
    """Return the calibration of all frames: a camera 8 cm below and 28 cm ahead of the LiDAR, turned by under a degree."""
    cx, cy = CENTRE_PX
    projection = np.array([[FOCAL_PX, 0.0, cx, 43.0], [0.0, FOCAL_PX, cy, 0.2], [0.0, 0.0, 1.0, 0.0025]])
    axes = np.array([[0.0, -1.0, 0.0], [0.0, 0.0, -1.0], [1.0, 0.0, 0.0]])
    rotation = Rotation.from_rotvec(ROTATION_DEG, degrees=True).as_matrix() @ axes
    translation = np.array([[-0.01], [-0.08], [-0.28]])
    return Calibration(projection, np.hstack([rotation, translation]), *SIZE_PX)
