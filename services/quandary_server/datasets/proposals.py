"""What the camera proposes in a dataset frame: published detections, or boxes made from the labels and background."""

from zlib import crc32

import numpy as np

from quandary.errors import InvalidArgument
from quandary.frames import Proposal
from quandary.geometry import Calibration, ImageBox
from quandary_server.datasets.kitti import DatasetFrame
from quandary_server.datasets.matching import covered_share
from quandary_server.datasets.sources import ProposalSource

BACKGROUND_SHARE = 1 / 3
MAX_COVERED_SHARE = 0.1
MAX_BACKGROUND_IOU = 0.3
ATTEMPTS = 30

SHAPES_M = ((2.1, 1.6), (2.65, 1.65), (4.1, 1.75), (3.1, 2.4), (4.0, 3.8), (0.7, 1.8), (1.1, 1.8))
SHAPE_SHARES = (0.30, 0.22, 0.20, 0.08, 0.03, 0.12, 0.05)
"""Widths and heights that the 2D boxes of KITTI's labels have at the object: cars from behind, askew and from the side,
vans, trucks and trams, pedestrians, cyclists."""

MEDIAN_DISTANCE_M = 26.4
DISTANCE_SPREAD = 0.57
"""Median and log standard deviation of the distances of KITTI's labels."""

NEAREST_M, FARTHEST_M = 5.0, 80.0


def label_proposals(frame: DatasetFrame, seed: int, background_share: float = BACKGROUND_SHARE) -> list[Proposal]:
    """Return the labels' 2D boxes, in the labels' order, and behind them background boxes.

    A background box is as large as an object's would be at a distance drawn like the labels', stands near the road, and lies
    by at most a tenth over labels' boxes and ignored regions. Their number is drawn so that about `background_share` of all
    proposals is background; where a crowded image has no room there are fewer. The same seed and frame id give the same boxes.
    Raises InvalidArgument unless background_share is in [0, 1).
    """
    if not 0 <= background_share < 1:
        raise InvalidArgument.of("background_share", background_share, "in [0, 1)")
    rng = np.random.default_rng([seed, crc32(frame.frame_id.encode())])
    found = [clipped for box in frame.label_boxes if (clipped := _clipped(box, frame.calibration)) is not None]
    taken = [*found, *frame.labels.ignored_regions]

    wanted = rng.poisson(max(len(found), 1) * background_share / (1 - background_share))
    background: list[ImageBox] = []
    for _ in range(wanted):
        for _ in range(ATTEMPTS):
            box = _clipped(_background_box(frame.calibration, rng), frame.calibration)
            if box is not None and covered_share(box, taken) <= MAX_COVERED_SHARE and not _crowded(box, background):
                background.append(box)
                break
    return [Proposal(box) for box in (*found, *background)]


def detection_proposals(frame: DatasetFrame, min_score: float = 0.0) -> list[Proposal]:
    """Return the published detections of at least this score, best first; raises InvalidArgument unless it is in [0, 1]."""
    if not 0 <= min_score <= 1:
        raise InvalidArgument.of("min_score", min_score, "in [0, 1]")
    scored = [(proposal.confidence or 0.0, proposal) for proposal in frame.detections]
    kept = [pair for pair in scored if pair[0] >= min_score]
    return [proposal for _, proposal in sorted(kept, key=lambda pair: -pair[0])]


def _background_box(calibration: Calibration, rng: np.random.Generator) -> ImageBox:
    width_m, height_m = np.array(SHAPES_M[rng.choice(len(SHAPES_M), p=SHAPE_SHARES)]) * rng.lognormal(0.0, 0.15, 2)
    distance_m = np.clip(MEDIAN_DISTANCE_M * rng.lognormal(0.0, DISTANCE_SPREAD), NEAREST_M, FARTHEST_M)
    camera = calibration.projection
    ground_m = 1.65 - max(rng.normal(0.0, 0.4), 0.0)  # below the camera; what is taken for an object may hang higher
    centre_px = rng.uniform(0.0, calibration.image_width_px)
    bottom_px = camera[1, 2] + camera[1, 1] * ground_m / distance_m
    half_px, height_px = camera[0, 0] * width_m / distance_m / 2, camera[1, 1] * height_m / distance_m
    return ImageBox(float(centre_px - half_px), float(bottom_px - height_px), float(centre_px + half_px), float(bottom_px))


def _clipped(box: ImageBox, calibration: Calibration) -> ImageBox | None:
    return box.clipped(calibration.image_width_px, calibration.image_height_px)


def _crowded(box: ImageBox, others: list[ImageBox]) -> bool:
    return any(box.iou(other) > MAX_BACKGROUND_IOU for other in others)


def proposals_of(frame: DatasetFrame, source: ProposalSource, seed: int) -> list[Proposal]:
    """Return a frame's proposals from a source; the seed is that of `label_proposals`."""
    return detection_proposals(frame) if source is ProposalSource.DETECTIONS else label_proposals(frame, seed)
