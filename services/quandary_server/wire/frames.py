"""From a FrameInput to a frame, held to the limits."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from quandary.convert import calibration, proposals, tensor_values
from quandary.errors import InvalidArgument, TooLarge, Violation, within
from quandary.frames import Frame
from quandary.v1 import scoring_pb2


@dataclass(frozen=True)
class Limits:
    """What one request may carry."""

    max_frames: int
    max_proposals: int
    max_crops: int
    max_points: int
    max_message_bytes: int

    def message(self) -> scoring_pb2.ScoringLimits:
        """Return the message."""
        return scoring_pb2.ScoringLimits(
            max_frames=self.max_frames,
            max_proposals=self.max_proposals,
            max_crops=self.max_crops,
            max_points=self.max_points,
            max_message_bytes=self.max_message_bytes,
        )


def check_request(request: scoring_pb2.ScoreFramesRequest, limits: Limits) -> None:
    """Raise InvalidArgument for a request without frames, TooLarge for one over the limits."""
    if not request.frames:
        raise InvalidArgument.of("frames", "empty", "at least one frame")
    check_limit("frames", len(request.frames), limits.max_frames, "frames")
    check_limit("frames", sum(len(frame.proposals) for frame in request.frames), limits.max_crops, "crops")


def check_jitter(frames: Sequence[scoring_pb2.FrameInput], jittered: int, limits: Limits, field: str) -> None:
    """Raise TooLarge where the crops of the frames and of their jittered proposals exceed the limit."""
    crops = sum(len(frame.proposals) for frame in frames) * (1 + jittered)
    check_limit(field, crops, limits.max_crops, "crops with those of jittered proposals")


def check_limit(field: str, value: int, limit: int, unit: str) -> None:
    """Raise TooLarge where `value` exceeds `limit`."""
    if value > limit:
        violation = Violation(field, f"{value} {unit}", f"at most {limit} {unit}")
        raise TooLarge(str(violation), violations=[violation])


def frame(message: scoring_pb2.FrameInput, limits: Limits) -> Frame:
    """Return the frame of a message; raises InvalidArgument or TooLarge with the path of the field."""
    # on a stream a frame is the whole request
    check_limit("proposals", len(message.proposals), min(limits.max_proposals, limits.max_crops), "proposals")
    lidar = message.WhichOneof("lidar")
    if lidar is None:
        raise InvalidArgument.of("lidar", "missing", "a cloud or crops")
    if not message.HasField("calibration"):
        raise InvalidArgument.of("calibration", "missing", "set")
    with within("calibration"):
        found = calibration(message.calibration)
    boxes = proposals(message.proposals)
    if lidar == "cloud":
        with within("cloud"):
            points = _points(tensor_values(message.cloud), limits)
        return Frame(message.frame_id, found, boxes, points=points, drive_id=message.drive_id)
    with within("crops"):
        crops = _crops(message.crops, len(boxes), limits)
    return Frame(message.frame_id, found, boxes, crops=crops, drive_id=message.drive_id)


def _crops(message: scoring_pb2.CropSet, expected: int, limits: Limits) -> list[NDArray[np.float32]]:
    with within("points"):
        points = _points(tensor_values(message.points), limits)
    counts = list(message.point_counts)
    if len(counts) != expected:
        raise InvalidArgument.of("point_counts", f"{len(counts)} counts", f"{expected}, one per proposal")
    if (least := min(counts, default=0)) < 0:
        raise InvalidArgument.of("point_counts", f"{least} at {counts.index(least)}", "counts >= 0")
    if sum(counts) != len(points):
        raise InvalidArgument.of("point_counts", f"{sum(counts)} points in all", f"counts adding up to {len(points)}")
    return np.split(points, np.cumsum(counts)[:-1]) if counts else []


def _points(values: NDArray[np.float32], limits: Limits) -> NDArray[np.float32]:
    if values.ndim != 2 or values.shape[1] != 4:
        raise InvalidArgument.of("shape", list(values.shape), "[N, 4]: x, y, z in metres and intensity")
    check_limit("shape", len(values), limits.max_points, "points")
    return values
