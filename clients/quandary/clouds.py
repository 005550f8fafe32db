"""Point clouds as KITTI keeps them: float32 rows x, y, z, intensity, little-endian, no header."""

import numpy as np
from numpy.typing import NDArray

from quandary.errors import InvalidArgument
from quandary.frames import check_points

__all__ = ["ROW_BYTES", "cloud_from_bytes"]

ROW_BYTES = 16


def cloud_from_bytes(data: bytes, name: str) -> NDArray[np.float32]:
    """Return the points (N, 4) of float32 rows x, y, z (metres) and intensity, little-endian, without a header.

    name: what errors call the cloud. Raises InvalidArgument if it is torn (no multiple of 16 bytes) or not sound.
    """
    if len(data) % ROW_BYTES:
        bound = f"a multiple of {ROW_BYTES} bytes (x, y, z, intensity as float32)"
        raise InvalidArgument.of(name, f"{len(data)} bytes", bound)
    points = np.frombuffer(data, "<f4").reshape(-1, 4).astype(np.float32, copy=False)
    return check_points(name, points)
