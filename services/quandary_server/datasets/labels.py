"""Lines of label_2, to and from labels in the LiDAR frame.

KITTI gives the bottom centre of a box in the rectified camera frame (x right, y down, z ahead) and its heading about
the camera's y axis. The LiDAR leans by a degree at most against the camera, so that a box upright in one is taken as
upright in the other; the heading moves by some 1e-4 rad.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from quandary.errors import InvalidArgument, Violation, within
from quandary.geometry import Box3D, Calibration, ImageBox
from quandary.labels import LABEL_CLASSES, Label
from quandary_server.datasets.files import numbers

COLUMNS = 15
COLUMNS_WITH_SCORE = 16
MOST_DECIMALS = 9
DONT_CARE = "DontCare"
UNKNOWN = -1.0


@dataclass(frozen=True)
class LabelFile:
    """What a label_2 file holds: labels with their 2D boxes (one each), and the regions marked DontCare.

    lines: where each label stands in the file, from 1 on; empty for labels of no file.
    """

    labels: tuple[Label, ...] = ()
    boxes: tuple[ImageBox, ...] = ()
    ignored_regions: tuple[ImageBox, ...] = ()
    lines: tuple[int, ...] = field(default=(), compare=False)


def parse_labels(name: str, lines: Sequence[str], calibration: Calibration, *, truncation_is_level: bool = False) -> LabelFile:
    """Return the labels of a file's lines; blank ones hold nothing.

    A sixteenth column, the score of a pre-label, must be a number and is otherwise left alone.

    truncation_is_level: the column holds 0, 1 or 2 (KITTI tracking) and not a share; levels above 0 become unknown.
    Raises InvalidArgument with every line that is wrong, named by file and line: a wrong number of columns, an unknown class, a
    bad number or box.
    """
    labels, boxes, regions, places = [], [], [], []
    wrong: list[Violation] = []
    for i, line in enumerate(lines, start=1):
        if not (columns := line.split()):
            continue
        try:
            with within(f"{name}:{i}"):
                label, image_box = _parsed(columns, calibration, truncation_is_level)
        except InvalidArgument as error:
            wrong += error.violations
            continue
        if label is None:
            regions.append(image_box)
        else:
            labels.append(label)
            boxes.append(image_box)
            places.append(i)
    if wrong:
        raise InvalidArgument.all(wrong)
    return LabelFile(tuple(labels), tuple(boxes), tuple(regions), tuple(places))


def _parsed(columns: Sequence[str], calibration: Calibration, truncation_is_level: bool) -> tuple[Label | None, ImageBox]:
    """Return the label of a line and its 2D box; None for a region where nothing was labelled."""
    if len(columns) not in (COLUMNS, COLUMNS_WITH_SCORE):
        raise InvalidArgument.of("", f"{len(columns)} columns", f"{COLUMNS} columns, or one more with a score")
    class_name, values = columns[0], numbers("", columns[1:])
    image_box = ImageBox(*values[3:7].tolist())
    if class_name == DONT_CARE:
        return None, image_box
    if class_name not in LABEL_CLASSES:
        raise InvalidArgument.of("", repr(class_name), f"one of {', '.join((*LABEL_CLASSES, DONT_CARE))}")
    box = box_from_camera(values[10:13], values[7:10], float(values[13]), calibration)
    truncation = _truncation(float(values[0]), is_level=truncation_is_level)
    return Label(class_name, box, truncation, _occlusion(float(values[1]))), image_box


def format_labels(
    content: LabelFile, calibration: Calibration, *, exact: bool = False, scores: Sequence[float] = ()
) -> list[str]:
    """Return the 15-column lines of labels and ignored regions, metres and radians with four decimals.

    exact: boxes in 3D and regions to the nanometre and without zeros at the end, so that what was read from a file is written
    as it stood there, and reads back the same. scores: one per label, as the sixteenth column, which KITTI has for detections.
    """
    lines = [_line(label, box, calibration, exact) for label, box in zip(content.labels, content.boxes, strict=True)]
    if scores:
        lines = [f"{line} {score:.4f}" for line, score in zip(lines, scores, strict=True)]
    nowhere = "-1 -1 -1 -1000 -1000 -1000 -10"
    return lines + [f"{DONT_CARE} -1 -1 -10 {_pixels(region, exact)} {nowhere}" for region in content.ignored_regions]


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


def exact_box_to_camera(box: Box3D, calibration: Calibration) -> tuple[NDArray[np.float64], float]:
    """Return bottom centre and heading from which `box_from_camera` makes this very box, but for rounding.

    KITTI's rotations are such to six digits only, and a heading that is turned there and back loses 1e-4 rad by the lean.
    """
    rotation, translation = calibration.lidar_to_camera[:, :3], calibration.lidar_to_camera[:, 3]
    bottom = box.centre @ np.linalg.inv(rotation) + translation + np.array([0.0, box.height_m / 2, 0.0])
    cos, sin = np.cos(box.yaw_rad), np.sin(box.yaw_rad)
    ahead, aside = rotation[:, :2] @ np.array([cos, sin]), rotation[:, :2] @ np.array([-sin, cos])
    rotation_y = float(np.arctan2(aside[0], aside[2]))
    if ahead[0] * np.cos(rotation_y) - ahead[2] * np.sin(rotation_y) < 0:
        rotation_y -= float(np.copysign(np.pi, rotation_y))
    return bottom, rotation_y


def _line(label: Label, image_box: ImageBox, calibration: Calibration, exact: bool) -> str:
    box = label.box
    bottom, rotation_y = (exact_box_to_camera if exact else box_to_camera)(box, calibration)
    alpha = rotation_y - float(np.arctan2(bottom[0], bottom[2]))
    alpha = (alpha + np.pi) % (2 * np.pi) - np.pi
    truncation = UNKNOWN if label.truncation is None else label.truncation
    occlusion = int(UNKNOWN) if label.occlusion is None else label.occlusion
    metric = (box.height_m, box.width_m, box.length_m, *bottom.tolist(), rotation_y)
    numbers_told = " ".join(_told(value, 4, exact) for value in metric)
    return (
        f"{label.class_name} {_told(truncation, 2, exact)} {occlusion} {alpha:.4f} {_pixels(image_box, False)} {numbers_told}"
    )


def _pixels(box: ImageBox, exact: bool) -> str:
    return " ".join(_told(value, 2, exact) for value in (box.left_px, box.top_px, box.right_px, box.bottom_px))


def _told(value: float, decimals: int, exact: bool) -> str:
    if not exact:
        return f"{value:.{decimals}f}"
    whole, _, rest = f"{value:.{MOST_DECIMALS}f}".partition(".")
    return f"{whole}.{rest.rstrip('0').ljust(2, '0')}"


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
