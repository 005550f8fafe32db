"""The clouds of a dataset: .bin files."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from quandary.clouds import cloud_from_bytes
from quandary.errors import InvalidArgument
from quandary.frames import check_points


def read_cloud(path: Path) -> NDArray[np.float32]:
    """Return the points (N, 4) of a .bin file: x, y, z in metres in the LiDAR frame, and intensity.

    Raises InvalidArgument, named by folder and file, if it is missing, torn (no multiple of 16 bytes) or not finite.
    """
    name = f"{path.parent.name}/{path.name}"
    try:
        data = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        raise InvalidArgument.of(name, "missing", "a file") from None
    return cloud_from_bytes(data, name)


def write_cloud(path: Path, points: NDArray[np.float32]) -> None:
    """Write points (N, 4) as a .bin file; raises InvalidArgument unless they are float32 and finite."""
    check_points("points", points)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(np.ascontiguousarray(points, "<f4").tobytes())
