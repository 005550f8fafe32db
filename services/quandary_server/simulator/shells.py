"""What vehicles are made of: a shell lofted along the length, wheels, and the marks at the tail."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from quandary_server.simulator.materials import Material
from quandary_server.simulator.meshes import Mesh, block, lofted, rods

Stations = Sequence[tuple[float, float, bool]]
"""A shape from tail to nose: share of the length, height of the top as a share of the height, and whether the side above the
belt is glass from here to the next station. Where the top falls or rises steeply between glass stations, it is a window."""

CAB: Stations = ((0.00, 0.99, False), (0.30, 1.00, True), (0.85, 0.98, True), (0.97, 0.52, False), (1.00, 0.40, False))

MIN_WINDOW_SLOPE = 0.3


def shell(length: float, width: float, height: float, stations: Stations, belt: float, floor_m: float) -> Mesh:
    """Return a shell of six-pointed cross-sections: floor, belt and roof on either side."""
    share, top, glazed = (np.array(column) for column in zip(*stations, strict=True))
    x = (share - 0.5) * length
    tops = np.maximum(top * height, floor_m + 0.1)
    belts = np.minimum(tops, belt * height)
    # Narrower at nose and tail, and above the belt, as car bodies are.
    half = width / 2 * (1 - 0.16 * np.abs(2 * share - 1) ** 4)
    roof = half * (1 - 0.28 * np.clip((tops - belts) / (height * (1 - belt)), 0.0, 1.0))
    floor = np.full(len(x), floor_m)
    rings = np.stack(
        [
            np.stack([x, side * wide, z], axis=1)
            for side, wide, z in (
                (1, 0.96 * half, floor), (1, half, belts), (1, roof, tops),
                (-1, roof, tops), (-1, half, belts), (-1, 0.96 * half, floor),
            )
        ],
        axis=1,
    )  # fmt: skip
    return lofted(rings, _shell_materials(x, tops, glazed))


def _shell_materials(x: NDArray[np.float64], tops: NDArray[np.float64], glazed: NDArray[np.bool_]) -> NDArray[np.integer]:
    materials = np.full((len(x) - 1, 6), Material.PAINT)
    materials[:, [1, 3]] = np.where(glazed[:-1, None], Material.GLASS, Material.PAINT)
    slope = np.abs(np.diff(tops)) / np.maximum(np.diff(x), 1e-6)
    materials[:, 2] = np.where(glazed[:-1] & (slope > MIN_WINDOW_SLOPE), Material.GLASS, Material.PAINT)
    return materials


def wheels(axles: Sequence[float], width: float, radius: float) -> Mesh:
    """Return a pair of wheels at each axle (x in metres)."""
    starts = [[x, side * (width / 2 - 0.22), radius] for x in axles for side in (-1, 1)]
    ends = [[x, side * (width / 2 - 0.01), radius] for x in axles for side in (-1, 1)]
    return rods(starts, ends, radius, Material.RUBBER)


def tail_marks(tail: float, width: float, height_m: float) -> list[Mesh]:
    """Return the lamps and the plate of a tail, all of which throw light straight back."""
    lamps = [
        block(
            [tail, side * width * 0.42 - 0.08, height_m],
            [tail + 0.05, side * width * 0.42 + 0.08, height_m + 0.12],
            Material.REFLECTOR,
        )
        for side in (-1, 1)
    ]
    return [*lamps, block([tail - 0.01, -0.26, height_m - 0.1], [tail + 0.02, 0.26, height_m], Material.REFLECTOR)]
