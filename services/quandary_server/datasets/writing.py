"""Writing a folder in the KITTI object layout, as `KittiFolder` reads it."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from quandary.frames import Proposal, check_identifier
from quandary.geometry import Calibration, ImageBox
from quandary.labels import FrameLabels
from quandary_server.datasets.calibration import format_calibration
from quandary_server.datasets.clouds import write_cloud
from quandary_server.datasets.detections import format_detections
from quandary_server.datasets.files import training_file, write_lines
from quandary_server.datasets.labels import LabelFile, format_labels

OUT_OF_VIEW = ImageBox(-1.0, -1.0, 0.0, 0.0)


def write_frame(root: Path, frame_id: str, points: NDArray[np.float32], calibration: Calibration, content: LabelFile) -> None:
    """Write cloud, calibration and labels of one frame below root/training; the index is written last, by `write_index`.

    points: float32 (N, 4). Raises InvalidArgument for a malformed frame id or non-finite points.
    """
    check_identifier("frame_id", frame_id)
    write_cloud(training_file(root, "velodyne", frame_id, ".bin")[0], points)
    write_lines(training_file(root, "calib", frame_id, ".txt")[0], format_calibration(calibration))
    write_lines(training_file(root, "label_2", frame_id, ".txt")[0], format_labels(content, calibration))


def write_labels(root: Path, labels: FrameLabels, calibration: Calibration, scores: Sequence[float] = ()) -> Path:
    """Write labels and calibration of one frame below root/training so that they read back the same; return the label file.

    Labels to the nanometre (with scores, as pre-labels that somebody will edit: four decimals), the calibration to the bit. The
    2D boxes are the labels' projections, clipped to the image; an object out of its view gets the pixel above and left of it.
    Raises InvalidArgument for a malformed frame id.
    """
    boxes = tuple(calibration.project_box(label.box) or OUT_OF_VIEW for label in labels.labels)
    content = LabelFile(tuple(labels.labels), boxes, tuple(labels.ignored_regions))
    path, _ = training_file(root, "label_2", check_identifier("frame_id", labels.frame_id), ".txt")
    write_lines(training_file(root, "calib", labels.frame_id, ".txt")[0], format_calibration(calibration, exact=True))
    write_lines(path, format_labels(content, calibration, exact=not scores, scores=scores))
    return path


def write_detections(root: Path, name: str, detections: Mapping[str, Iterable[Proposal]]) -> None:
    """Write the detections by frame id to root/rgb_detections/rgb_detection_<name>.txt."""
    check_identifier("name", name)
    write_lines(root / "rgb_detections" / f"rgb_detection_{name}.txt", format_detections(detections))
