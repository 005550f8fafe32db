"""What surfaces are made of, as a LiDAR meets them."""

from enum import IntEnum

import numpy as np
from numpy.typing import NDArray


class Material(IntEnum):
    """A kind of surface; the tables below are indexed by it."""

    ROAD = 0
    PAVING = 1
    GRASS = 2
    PLASTER = 3
    BRICK = 4
    GLASS = 5
    PAINT = 6
    RUBBER = 7
    REFLECTOR = 8
    CLOTH = 9
    SKIN = 10
    BARK = 11
    LEAF = 12
    STEEL = 13
    WOOD = 14
    PANE = 15


_TABLE = {
    # material:          reflectivity, spread between objects (log), share of hits that return, roughness in metres
    Material.ROAD:      (0.33, 0.12, 1.00, 0.000),
    Material.PAVING:    (0.36, 0.15, 1.00, 0.005),
    Material.GRASS:     (0.42, 0.15, 0.99, 0.040),
    Material.PLASTER:   (0.36, 0.35, 0.99, 0.005),
    Material.BRICK:     (0.27, 0.25, 0.99, 0.010),
    Material.GLASS:     (0.04, 0.50, 0.14, 0.050),
    Material.PAINT:     (0.13, 1.60, 0.97, 0.000),
    Material.RUBBER:    (0.05, 0.40, 0.95, 0.005),
    Material.REFLECTOR: (0.99, 0.00, 1.00, 0.000),
    Material.CLOTH:     (0.34, 0.45, 0.99, 0.010),
    Material.SKIN:      (0.40, 0.15, 0.99, 0.005),
    Material.BARK:      (0.28, 0.20, 0.98, 0.015),
    Material.LEAF:      (0.38, 0.20, 0.95, 0.050),
    Material.STEEL:     (0.26, 0.50, 0.96, 0.000),
    Material.WOOD:      (0.38, 0.30, 0.98, 0.005),
    Material.PANE:      (0.15, 0.50, 0.65, 0.080),
}  # fmt: skip
# Means and spreads follow the intensities that KITTI's clouds show on road, facades, cars and people; half of the
# points on cars have none at all.

_COLUMNS = np.array([_TABLE[material] for material in Material]).T

REFLECTIVITY: NDArray[np.float64] = _COLUMNS[0]
SHADE_SPREAD: NDArray[np.float64] = _COLUMNS[1]
RETURN_SHARE: NDArray[np.float64] = _COLUMNS[2]
ROUGHNESS_M: NDArray[np.float64] = _COLUMNS[3]
