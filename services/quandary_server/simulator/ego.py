"""How the car with the sensor moves along its street."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from quandary.records import EgoPose
from quandary_server.simulator.path import StreetPath

SENSOR_HEIGHT_M = 1.73
TICK_S = 0.1
MIN_STEP_M = 0.5


@dataclass(frozen=True, eq=False)
class Pose:
    """The LiDAR's pose in the drive's frame: position (3,) and rotation (3, 3), whose columns are its axes."""

    position: NDArray[np.float64]
    rotation: NDArray[np.float64]

    @property
    def yaw_rad(self) -> float:
        """Heading about the drive's z axis."""
        return float(np.arctan2(self.rotation[1, 0], self.rotation[0, 0]))

    def to_lidar(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return points (..., 3) of the drive's frame in the LiDAR frame."""
        return np.asarray((points - self.position) @ self.rotation)

    def from_lidar(self, vectors: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return directions (..., 3) of the LiDAR frame in the drive's frame."""
        return np.asarray(vectors @ self.rotation.T)

    def as_ego_pose(self) -> EgoPose:
        """Return the pose as a fleet logs it."""
        quaternion = Rotation.from_matrix(self.rotation).as_quat(scalar_first=True)
        return EgoPose(*self.position.tolist(), *quaternion.tolist())


@dataclass(frozen=True, eq=False)
class EgoMotion:
    """The car's way: s, d and lean sampled every TICK_S from time 0."""

    path: StreetPath
    s_m: NDArray[np.float64]
    d_m: NDArray[np.float64]
    pitch_rad: NDArray[np.float64]
    roll_rad: NDArray[np.float64]

    def s_at(self, time_s: float) -> float:
        """Return how far along the street the car is."""
        return self._at(self.s_m, time_s)

    def pose(self, time_s: float) -> Pose:
        """Return the LiDAR's pose."""
        s, d, pitch, roll = (self._at(values, time_s) for values in (self.s_m, self.d_m, self.pitch_rad, self.roll_rad))
        before, after = time_s - 2 * TICK_S, time_s + 2 * TICK_S
        aside, along = (self._at(values, after) - self._at(values, before) for values in (self.d_m, self.s_m))
        drift = float(np.arctan2(aside, max(along, MIN_STEP_M)))
        position, heading = self.path.at(s, d)
        slope = float(np.diff(self.path.at(np.array([s - 1.0, s + 1.0]), d)[0][:, 2])[0]) / 2
        rotation = Rotation.from_euler("ZYX", [float(heading) + drift, pitch - np.arctan(slope), roll])
        return Pose(position + np.array([0.0, 0.0, SENSOR_HEIGHT_M]), rotation.as_matrix())

    def _at(self, values: NDArray[np.float64], time_s: float) -> float:
        return float(np.interp(time_s / TICK_S, np.arange(len(values)), values))


def ego_motion(path: StreetPath, lane_d_m: float, speed_m_s: float, duration_s: float, rng: np.random.Generator) -> EgoMotion:
    """Return a way along a lane: the speed breathes, in half the drives the car waits once, it wanders in its lane."""
    time = np.arange(0.0, duration_s + 10 * TICK_S, TICK_S)
    speed = speed_m_s * rng.uniform(0.8, 1.2) * (1 + 0.3 * np.sin(2 * np.pi * time / rng.uniform(15, 40) + rng.uniform(0, 6.3)))
    if rng.random() < 0.5:
        start, length = rng.uniform(0.1, 0.9) * duration_s, rng.uniform(2.0, 6.0)
        speed *= np.clip(np.abs(time - start) - length / 2, 0.0, 3.0) / 3.0
    s = np.concatenate([[0.0], np.cumsum(speed[:-1]) * TICK_S])
    wander = 0.25 * np.sin(2 * np.pi * s / rng.uniform(60, 120) + rng.uniform(0, 6.3))
    sway = [np.radians(size) * np.sin(2 * np.pi * time / rng.uniform(1.5, 6) + rng.uniform(0, 6.3)) for size in (0.25, 0.2)]
    return EgoMotion(path, s, lane_d_m + wander, sway[0], sway[1])
