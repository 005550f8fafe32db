"""Calibration files of the KITTI object layout, to and from `quandary.Calibration`.

P2 is the whole projection (its last column places camera 2 beside the rectified frame), and the LiDAR reaches the
rectified frame by R0_rect @ Tr_velo_to_cam (Geiger et al., IJRR 2013, equation 8).
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from quandary.errors import InvalidArgument, within
from quandary.geometry import Calibration
from quandary_server.datasets.files import numbers

COUNTS = {"P2": 12, "R0_rect": 9, "Tr_velo_to_cam": 12, "S_rect_02": 2}
REQUIRED = ("P2", "R0_rect", "Tr_velo_to_cam")

SIZES_PX = {
    721.5377: (1242, 375),
    707.0493: (1224, 370),
    718.3351: (1238, 374),
    707.0912: (1226, 370),
    718.8560: (1241, 376),
}
"""Width and height of the rectified image by focal length: the five recording days of KITTI."""

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
MAX_FOCAL_ERROR_PX = 1e-3


def parse_calibration(name: str, lines: Sequence[str], image: Path | None = None) -> Calibration:
    """Return the calibration of a file's lines; the image size is `image`'s, else S_rect_02's, else known by focal length.

    Raises InvalidArgument, named by file and line, for a missing key, a wrong count, a bad number, an image size unknown or
    not in whole pixels.
    """
    found: dict[str, NDArray[np.float64]] = {}
    for i, line in enumerate(lines, start=1):
        key, _, rest = line.partition(":")
        if key not in COUNTS:
            continue
        values = numbers(f"{name}:{i}", rest.split())
        if len(values) != COUNTS[key]:
            raise InvalidArgument.of(f"{name}:{i}", f"{len(values)} values", f"{COUNTS[key]} values for {key}")
        if key == "S_rect_02" and (values != np.round(values)).any():
            raise InvalidArgument.of(f"{name}:{i}", " ".join(rest.split()), "whole pixels")
        found[key] = values
    for key in REQUIRED:
        if key not in found:
            raise InvalidArgument.of(name, f"{key} missing", f"a calibration with {', '.join(REQUIRED)}")

    projection = found["P2"].reshape(3, 4)
    lidar_to_camera = found["R0_rect"].reshape(3, 3) @ found["Tr_velo_to_cam"].reshape(3, 4)
    width_px, height_px = _image_size(name, projection, found.get("S_rect_02"), image)
    with within(name):
        return Calibration(projection, lidar_to_camera, width_px, height_px)


def format_calibration(calibration: Calibration, *, exact: bool = False) -> list[str]:
    """Return the lines of a calibration file, in KITTI's order so that readers by line number find theirs.

    R0_rect is the identity, since `lidar_to_camera` has it already; the one camera there is stands for all four. The
    image size is given as S_rect_02, the key of KITTI's raw recordings. exact: with all digits, so that it reads back the same
    to the bit; else with 13.
    """
    decimals = 16 if exact else 12
    projection = _row(calibration.projection, decimals)
    identity = np.eye(4)
    return [
        *(f"P{camera}: {projection}" for camera in range(4)),
        f"R0_rect: {_row(identity[:3, :3], decimals)}",
        f"Tr_velo_to_cam: {_row(calibration.lidar_to_camera, decimals)}",
        f"Tr_imu_to_velo: {_row(identity[:3], decimals)}",
        f"S_rect_02: {calibration.image_width_px} {calibration.image_height_px}",
    ]


def _row(matrix: NDArray[np.float64], decimals: int) -> str:
    return " ".join(f"{value:.{decimals}e}" for value in matrix.ravel())


def _image_size(
    name: str, projection: NDArray[np.float64], stated: NDArray[np.float64] | None, image: Path | None
) -> tuple[int, int]:
    if image is not None:
        return png_size(image)
    if stated is not None:
        return int(stated[0]), int(stated[1])
    focal_px = float(projection[0, 0])
    for known, size in SIZES_PX.items():
        if abs(known - focal_px) < MAX_FOCAL_ERROR_PX:
            return size
    bound = f"one of {', '.join(map(str, SIZES_PX))}, or S_rect_02, or a PNG in image_2, to know the image size"
    raise InvalidArgument.of(f"{name}.P2", f"focal length {focal_px:g} px", bound)


def png_size(path: Path) -> tuple[int, int]:
    """Return width and height in pixels from a PNG's header (RFC 2083, 4.1.1); raises InvalidArgument if it has none."""
    with path.open("rb") as file:
        header = file.read(24)
    if len(header) < 24 or not header.startswith(PNG_SIGNATURE) or header[12:16] != b"IHDR":
        raise InvalidArgument.of(f"{path.parent.name}/{path.name}", "no PNG header", "a PNG image")
    return int.from_bytes(header[16:20], "big"), int.from_bytes(header[20:24], "big")
