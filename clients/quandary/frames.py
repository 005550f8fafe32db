"""What is scored: a frame is a LiDAR scan with its calibration and the camera's proposals."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from quandary.errors import InvalidArgument, within
from quandary.frustum import crop_frusta
from quandary.geometry import MAX_RANGE_M, Calibration, ImageBox

__all__ = ["Frame", "Proposal", "check_identifier", "check_points"]

MAX_IDENTIFIER_CHARACTERS = 128
IDENTIFIER = re.compile(r"[A-Za-z0-9._-]{1,128}")
MAX_CLASS_HINT_CHARACTERS = 64

Points = NDArray[np.float32]

POINT_BOUNDS = np.array([MAX_RANGE_M, MAX_RANGE_M, MAX_RANGE_M, 1.0], np.float32)


def check_identifier(name: str, value: str) -> str:
    """Return the id, or raise InvalidArgument unless it is 1 to 128 characters of [A-Za-z0-9._-] and not . or .."""
    if not IDENTIFIER.fullmatch(value) or value in (".", ".."):
        raise InvalidArgument.of(name, repr(value), "1 to 128 characters of [A-Za-z0-9._-]")
    return value


def check_points(name: str, points: Points) -> Points:
    """Return the points, or raise InvalidArgument unless they are float32 (N, 4), within 1000 m, of intensity 0 to 1."""
    if points.ndim != 2 or points.shape[1] != 4:
        raise InvalidArgument.of(name, f"shape {points.shape}", "(N, 4): x, y, z in metres and intensity")
    if points.dtype != np.float32:
        raise InvalidArgument.of(name, f"dtype {points.dtype}", "float32")
    if not _all_sound(points):
        row = int(np.argmin(_sound(points)))
        bound = f"finite, within {MAX_RANGE_M:g} m, of intensity 0 to 1"
        raise InvalidArgument.of(name, f"{points[row].tolist()} at row {row}", bound)
    return points


def _all_sound(points: Points) -> bool:
    """Return whether all points (N, 4) are within their bounds, by extremes: a tenth of the time that each by itself takes."""
    if not len(points):
        return True
    intensity = points[:, 3]
    # NaN makes an extreme NaN, which fails every comparison
    low, high, dark, bright = points.min(), points.max(), intensity.min(), intensity.max()
    return bool(low >= -MAX_RANGE_M and high <= MAX_RANGE_M and dark >= 0 and bright <= 1)


def _sound(points: Points) -> NDArray[np.bool_]:
    """Return which points (N, 4) are within their bounds: NaN fails every comparison."""
    return np.asarray(np.all(np.abs(points) <= POINT_BOUNDS, axis=1) & (points[:, 3] >= 0))


@dataclass(frozen=True, slots=True)
class Proposal:
    """A 2D detection of the camera; confidence in [0, 1] where known, class_hint for people to read."""

    box: ImageBox
    confidence: float | None = None
    class_hint: str = ""

    def __post_init__(self) -> None:
        if self.confidence is not None and not 0 <= self.confidence <= 1:
            raise InvalidArgument.of("confidence", self.confidence, "in [0, 1]")
        if len(self.class_hint) > MAX_CLASS_HINT_CHARACTERS:
            bound = f"at most {MAX_CLASS_HINT_CHARACTERS} characters"
            raise InvalidArgument.of("class_hint", f"{len(self.class_hint)} characters", bound)


@dataclass(frozen=True)
class Frame:
    """One frame to score, with the whole cloud or with one crop per proposal.

    points: float32 (N, 4), x, y, z in metres in the LiDAR frame and intensity in [0, 1]; or None with crops given.
    crops: one float32 (n_i, 4) per proposal, as `cropped()` makes them; or None with points given.
    Raises InvalidArgument for a malformed id, non-finite points, a proposal outside the image, or not exactly one of the two.
    """

    frame_id: str
    calibration: Calibration
    proposals: Sequence[Proposal]
    points: Points | None = field(default=None, repr=False)
    crops: Sequence[Points] | None = field(default=None, repr=False)
    drive_id: str = ""

    def __post_init__(self) -> None:
        check_identifier("frame_id", self.frame_id)
        if self.drive_id:
            check_identifier("drive_id", self.drive_id)
        for i, proposal in enumerate(self.proposals):
            with within(f"proposals[{i}]"):
                check_inside_image(proposal.box, self.calibration)
        if (self.points is None) == (self.crops is None):
            raise InvalidArgument.of("lidar", "neither or both", "exactly one of cloud and crops")
        if self.points is not None:
            check_points("cloud", self.points)
        if self.crops is not None:
            if len(self.crops) != len(self.proposals):
                raise InvalidArgument.of("crops", f"{len(self.crops)} crops", f"{len(self.proposals)}, one per proposal")
            _check_crops(self.crops)

    def cropped(self) -> "Frame":
        """Return the frame with one crop per proposal in place of the cloud: the same scores to the bit."""
        if self.points is None:
            return self
        crops = crop_frusta(self.points, self.calibration, [p.box for p in self.proposals])
        return Frame(self.frame_id, self.calibration, self.proposals, crops=crops, drive_id=self.drive_id)

    def lightest(self) -> "Frame":
        """Return the frame cropped, or as it is where its crops overlap so much that they are larger than the cloud."""
        cropped = self.cropped()
        if self.points is None or sum(map(len, cropped.crops or ())) <= len(self.points):
            return cropped
        return self


def _check_crops(crops: Sequence[Points]) -> None:
    """Raise as check_points does for the first crop that is not sound."""
    alike = all(crop.ndim == 2 and crop.shape[1] == 4 and crop.dtype == np.float32 for crop in crops)
    # all at once: one by one the calls would take longer than the comparisons
    if crops and alike and _all_sound(np.concatenate(crops)):
        return
    for i, crop in enumerate(crops):
        check_points(f"crops[{i}]", crop)


def check_inside_image(box: ImageBox, calibration: Calibration) -> None:
    """Raise InvalidArgument unless the box overlaps the image."""
    width, height = calibration.image_width_px, calibration.image_height_px
    if not box.reaches_into(width, height):
        value = f"({box.left_px:g}, {box.top_px:g}, {box.right_px:g}, {box.bottom_px:g})"
        raise InvalidArgument.of("box", value, f"overlapping the image of {width} x {height} px")
