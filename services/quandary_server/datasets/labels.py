"""Lines of label_2, to and from labels in the LiDAR frame.

KITTI gives the bottom centre of a box in the rectified camera frame (x right, y down, z ahead) and its heading about
the camera's y axis. The LiDAR leans by a degree at most against the camera, so that a box upright in one is taken as
upright in the other; the heading moves by some 1e-4 rad.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from quandary.errors import InvalidArgument, within
from quandary.geometry import Box3D, Calibration, ImageBox
from quandary.labels import LABEL_CLASSES, Label
from quandary_server.datasets.files import numbers

COLUMNS = 15
DONT_CARE = "DontCare"
UNKNOWN = -1.0


@dataclass(frozen=True)
class LabelFile:
    """What a label_2 file holds: labels with their 2D boxes (one each), and the regions marked DontCare."""

    labels: tuple[Label, ...] = ()
    boxes: tuple[ImageBox, ...] = ()
    ignored_regions: tuple[ImageBox, ...] = ()


def parse_labels(name: str, lines: Sequence[str], calibration: Calibration, *, truncation_is_level: bool = False) -> LabelFile:
    """Return the labels of a file's lines.

    truncation_is_level: the column holds 0, 1 or 2 (KITTI tracking) and not a share; levels above 0 become unknown.
    Raises InvalidArgument, named by file and line, for a wrong number of columns, an unknown class, a bad number or box.
    """
    labels, boxes, regions = [], [], []
    for i, line in enumerate(lines, start=1):
        with within(f"{name}:{i}"):
            columns = line.split()
            if len(columns) != COLUMNS:
                raise InvalidArgument.of("", f"{len(columns)} columns", f"{COLUMNS} columns")
            class_name, values = columns[0], numbers("", columns[1:])
            image_box = ImageBox(*values[3:7].tolist())
            if class_name == DONT_CARE:
                regions.append(image_box)
                continue
            if class_name not in LABEL_CLASSES:
                raise InvalidArgument.of("", repr(class_name), f"one of {', '.join((*LABEL_CLASSES, DONT_CARE))}")
            box = box_from_camera(values[10:13], values[7:10], float(values[13]), calibration)
            truncation = _truncation(float(values[0]), is_level=truncation_is_level)
            labels.append(Label(class_name, box, truncation, _occlusion(float(values[1]))))
            boxes.append(image_box)
    return LabelFile(tuple(labels), tuple(boxes), tuple(regions))


def format_labels(content: LabelFile, calibration: Calibration) -> list[str]:
    """Return the 15-column lines of labels and ignored regions, metres and radians with four decimals."""
    lines = [_line(label, box, calibration) for label, box in zip(content.labels, content.boxes, strict=True)]
    return lines + [f"{DONT_CARE} -1 -1 -10 {_pixels(box)} -1 -1 -1 -1000 -1000 -1000 -10" for box in content.ignored_regions]


def box_from_camera(
    bottom: NDArray[np.float64], hwl_m: NDArray[np.float64], rotation_y: float, calibration: Calibration
) -> Box3D:
    """Return the LiDAR-frame box of a bottom centre (3,) and height, width, length (3,) in the rectified camera frame."""
    rotation, translation = calibration.lidar_to_camera[:, :3], calibration.lidar_to_camera[:, 3]
    height, width, length = hwl_m.tolist()
    x, y, z = ((bottom - np.array([0.0, height / 2, 0.0]) - translation) @ rotation).tolist()
    ahead = np.array([np.cos(rotation_y), 0.0, -np.sin(rotation_y)]) @ rotation
    return Box3D(x, y, z, length, width, height, float(np.arctan2(ahead[1], ahead[0])))


def box_to_camera(box: Box3D, calibration: Calibration) -> tuple[NDArray[np.float64], float]:
    """Return the bottom centre (3,) in metres and the heading in radians in the rectified camera frame."""
    rotation, translation = calibration.lidar_to_camera[:, :3], calibration.lidar_to_camera[:, 3]
    bottom = rotation @ box.centre + translation + np.array([0.0, box.height_m / 2, 0.0])
    ahead = rotation @ np.array([np.cos(box.yaw_rad), np.sin(box.yaw_rad), 0.0])
    return bottom, float(np.arctan2(-ahead[2], ahead[0]))


def _line(label: Label, image_box: ImageBox, calibration: Calibration) -> str:
    box = label.box
    bottom, rotation_y = box_to_camera(box, calibration)
    alpha = rotation_y - float(np.arctan2(bottom[0], bottom[2]))
    alpha = (alpha + np.pi) % (2 * np.pi) - np.pi
    truncation = UNKNOWN if label.truncation is None else label.truncation
    occlusion = int(UNKNOWN) if label.occlusion is None else label.occlusion
    metric = (box.height_m, box.width_m, box.length_m, *bottom.tolist(), rotation_y)
    return (
        f"{label.class_name} {truncation:.2f} {occlusion} {alpha:.4f} {_pixels(image_box)} "
        f"{' '.join(f'{value:.4f}' for value in metric)}"
    )


def _pixels(box: ImageBox) -> str:
    return f"{box.left_px:.2f} {box.top_px:.2f} {box.right_px:.2f} {box.bottom_px:.2f}"


def _truncation(value: float, *, is_level: bool) -> float | None:
    if value == UNKNOWN or (is_level and value in (1, 2)):
        return None
    return value


def _occlusion(value: float) -> int | None:
    if value == UNKNOWN:
        return None
    if value not in (0, 1, 2, 3):
        raise InvalidArgument.of("occlusion", f"{value:g}", "0, 1, 2, 3, or -1 for unknown")
    return int(value)
