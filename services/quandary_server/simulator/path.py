"""The centre line of a street: along it s in metres, d to its left."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

STEP_M = 1.0
MARGIN_M = 60.0


@dataclass(frozen=True, eq=False)
class StreetPath:
    """A gently winding and undulating line, sampled every STEP_M from s = -MARGIN_M: x, y, z and heading (n,)."""

    s_m: NDArray[np.float64]
    x_m: NDArray[np.float64]
    y_m: NDArray[np.float64]
    z_m: NDArray[np.float64]
    heading_rad: NDArray[np.float64]

    @property
    def end_m(self) -> float:
        """The last s."""
        return float(self.s_m[-1])

    def at(
        self, s_m: float | NDArray[np.float64], d_m: float | NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return positions (..., 3) in the drive's frame and the street's headings (...) there."""
        s, d = np.broadcast_arrays(np.asarray(s_m, np.float64), np.asarray(d_m, np.float64))
        heading = np.interp(s, self.s_m, self.heading_rad)
        x = np.interp(s, self.s_m, self.x_m) - d * np.sin(heading)
        y = np.interp(s, self.s_m, self.y_m) + d * np.cos(heading)
        return np.stack([x, y, np.interp(s, self.s_m, self.z_m)], axis=-1), np.asarray(heading)


def winding_path(length_m: float, bend_rad: float, rng: np.random.Generator) -> StreetPath:
    """Return a path of this length whose heading swings by up to about `bend_rad`, with slopes of up to some two per cent."""
    s = np.arange(-MARGIN_M, length_m + MARGIN_M, STEP_M)
    heading = np.zeros_like(s)
    z = np.zeros_like(s)
    for wavelength_m in (rng.uniform(120, 180), rng.uniform(220, 400)):
        heading += bend_rad / 2 * rng.uniform(0.3, 1.0) * np.sin(2 * np.pi * s / wavelength_m + rng.uniform(0, 2 * np.pi))
        z += rng.uniform(0.0, 0.004) * wavelength_m / 2 * np.sin(2 * np.pi * s / wavelength_m + rng.uniform(0, 2 * np.pi))
    x = np.concatenate([[0.0], np.cumsum(np.cos(heading[:-1]) * STEP_M)])
    y = np.concatenate([[0.0], np.cumsum(np.sin(heading[:-1]) * STEP_M)])
    return StreetPath(s, x, y, z, heading)
