"""Bodies placed along a street."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from quandary_server.simulator.bodies import Body
from quandary_server.simulator.path import StreetPath


@dataclass(frozen=True, eq=False)
class Placed:
    """A body at a position in the drive's frame: x, y, and z of the ground under it, with its heading."""

    body: Body
    x_m: float
    y_m: float
    z_m: float
    yaw_rad: float

    @property
    def position(self) -> NDArray[np.float64]:
        """x, y and z (3,)."""
        return np.array([self.x_m, self.y_m, self.z_m])

    def in_drive(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return points (n, 3) of the body's frame in the drive's frame."""
        cos, sin = np.cos(self.yaw_rad), np.sin(self.yaw_rad)
        x, y = cos * points[:, 0] - sin * points[:, 1], sin * points[:, 0] + cos * points[:, 1]
        return np.stack([x, y, points[:, 2]], axis=1) + self.position


def place(body: Body, path: StreetPath, s_m: float, d_m: float, turn_rad: float = 0.0, lift_m: float = 0.0) -> Placed:
    """Return the body at (s, d) of the street, turned against the street's heading there, lifted (onto a kerb)."""
    position, heading = path.at(s_m, d_m)
    x, y, z = position.tolist()
    yaw = (float(heading) + turn_rad + np.pi) % (2 * np.pi) - np.pi
    return Placed(body, x, y, z + lift_m, float(yaw))
