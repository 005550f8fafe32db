"""Point clouds as KITTI keeps them: float32 rows x, y, z, intensity, little-endian, no header."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from quandary.errors import InvalidArgument
from quandary.frames import check_points

ROW_BYTES = 16


def read_cloud(path: Path) -> NDArray[np.float32]:
    """Return the points (N, 4) of a .bin file: x, y, z in metres in the LiDAR frame, and intensity.

    Raises InvalidArgument, named by folder and file, if it is missing, torn (no multiple of 16 bytes) or not finite.
    """
    name = f"{path.parent.name}/{path.name}"
    try:
        data = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        raise InvalidArgument.of(name, "missing", "a file") from None
    if len(data) % ROW_BYTES:
        raise InvalidArgument.of(name, f"{len(data)} bytes", f"a multiple of {ROW_BYTES} bytes (x, y, z, intensity as float32)")
    points = np.frombuffer(data, "<f4").reshape(-1, 4).astype(np.float32, copy=False)
    return check_points(name, points)


def write_cloud(path: Path, points: NDArray[np.float32]) -> None:
    """Write points (N, 4) as a .bin file; raises InvalidArgument unless they are float32 and finite."""
    check_points("points", points)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(np.ascontiguousarray(points, "<f4").tobytes())
