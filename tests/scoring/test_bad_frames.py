"""A bad frame is its own error and costs its neighbours nothing. Through a real channel, with raw messages."""

import struct
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from support.raw_scoring import Raw, check_leak_free, opening, reason

from quandary.convert import frame_message, tensor_message
from quandary.v1 import geometry_pb2, scoring_pb2

Mutate = Callable[[scoring_pb2.FrameInput], None]

NAN = struct.pack("<f", float("nan"))


def cut(message: scoring_pb2.FrameInput) -> None:
    message.cloud.data = message.cloud.data[:-3]


def poison(message: scoring_pb2.FrameInput) -> None:
    message.cloud.data = NAN + message.cloud.data[4:]


def flatten(message: scoring_pb2.FrameInput) -> None:
    message.cloud.shape[:] = [2000 * 4]


def swap_dtype(message: scoring_pb2.FrameInput) -> None:
    message.cloud.data_type = geometry_pb2.DATA_TYPE_UNSPECIFIED


def unbound_intensity(message: scoring_pb2.FrameInput) -> None:
    message.cloud.data = message.cloud.data[:12] + struct.pack("<f", 255.0) + message.cloud.data[16:]


def crowd(message: scoring_pb2.FrameInput) -> None:
    message.cloud.shape[:] = [6000, 4]
    message.cloud.data = bytes(6000 * 16)


def leave_image(message: scoring_pb2.FrameInput) -> None:
    message.proposals[1].box.left_px, message.proposals[1].box.right_px = 5000.0, 5100.0


def invert_box(message: scoring_pb2.FrameInput) -> None:
    message.proposals[2].box.right_px = message.proposals[2].box.left_px - 1


def lose_box(message: scoring_pb2.FrameInput) -> None:
    message.proposals[0].ClearField("box")


def overconfide(message: scoring_pb2.FrameInput) -> None:
    message.proposals[0].confidence = 1.5


def blind(message: scoring_pb2.FrameInput) -> None:
    message.calibration.projection[:] = [0.0] * 12


def shear(message: scoring_pb2.FrameInput) -> None:
    message.calibration.lidar_to_camera[0] = 3.0


def shorten(message: scoring_pb2.FrameInput) -> None:
    del message.calibration.projection[-1]


def shrink(message: scoring_pb2.FrameInput) -> None:
    message.calibration.image_width_px = 0


def unname(message: scoring_pb2.FrameInput) -> None:
    message.frame_id = "../etc/passwd"


def uncalibrate(message: scoring_pb2.FrameInput) -> None:
    message.ClearField("calibration")


def empty(message: scoring_pb2.FrameInput) -> None:
    message.ClearField("cloud")


def miscount(message: scoring_pb2.FrameInput) -> None:
    message.crops.points.CopyFrom(message.cloud)
    message.crops.point_counts.extend([1, 1, 1])


def uncount(message: scoring_pb2.FrameInput) -> None:
    message.crops.points.CopyFrom(message.cloud)
    message.crops.point_counts.extend([2000])


def negate(message: scoring_pb2.FrameInput) -> None:
    message.crops.points.CopyFrom(message.cloud)
    message.crops.point_counts.extend([2001, -1, 0])


def overpropose(message: scoring_pb2.FrameInput) -> None:
    for _ in range(4):
        message.proposals.add().CopyFrom(message.proposals[0])


BAD_FRAMES: list[tuple[Mutate, str, str]] = [
    (cut, "cloud.data", "INVALID_FIELD"),
    (poison, "cloud", "INVALID_FIELD"),
    (flatten, "cloud.shape", "INVALID_FIELD"),
    (swap_dtype, "cloud.data_type", "INVALID_FIELD"),
    (unbound_intensity, "cloud", "INVALID_FIELD"),
    (crowd, "cloud.shape", "TOO_LARGE"),
    (leave_image, "proposals[1].box", "INVALID_FIELD"),
    (invert_box, "proposals[2].box.left_px", "INVALID_FIELD"),
    (lose_box, "proposals[0].box", "INVALID_FIELD"),
    (overconfide, "proposals[0].confidence", "INVALID_FIELD"),
    (blind, "calibration.projection", "INVALID_FIELD"),
    (shear, "calibration.lidar_to_camera", "INVALID_FIELD"),
    (shorten, "calibration.projection", "INVALID_FIELD"),
    (shrink, "calibration.image_width_px", "INVALID_FIELD"),
    (unname, "frame_id", "INVALID_FIELD"),
    (uncalibrate, "calibration", "INVALID_FIELD"),
    (empty, "lidar", "INVALID_FIELD"),
    (miscount, "crops.point_counts", "INVALID_FIELD"),
    (uncount, "crops.point_counts", "INVALID_FIELD"),
    (negate, "crops.point_counts", "INVALID_FIELD"),
    (overpropose, "proposals", "TOO_LARGE"),
]


@pytest.mark.parametrize(("mutate", "field", "expected"), BAD_FRAMES, ids=[m.__name__ for m, _, _ in BAD_FRAMES])
def test_a_bad_frame_is_answered_in_band_and_costs_its_neighbours_nothing(
    service: Any, make_frame: Any, mutate: Mutate, field: str, expected: str
) -> None:
    messages = [frame_message(make_frame(name, seed)) for seed, name in enumerate("abc")]
    mutate(messages[1])
    raw = Raw(service)
    response = raw.score(scoring_pb2.ScoreFramesRequest(frames=messages))
    good, bad, other = response.results
    assert good.HasField("score")
    assert other.HasField("score")
    assert bad.HasField("error")
    assert reason(bad.error) == expected
    (violation,) = bad.error.violations
    assert violation.field == f"frames[1].{field}"
    assert violation.value
    assert violation.bound
    assert violation.bound in bad.error.message
    check_leak_free(bad.error.message)
    alone = raw.score(scoring_pb2.ScoreFramesRequest(frames=[messages[0]])).results[0]
    assert alone.SerializeToString() == good.SerializeToString()


def test_a_bad_frame_of_a_stream_is_answered_in_band(service: Any, make_frame: Any) -> None:
    frames = [frame_message(make_frame(name)) for name in "abc"]
    poison(frames[1])
    requests = [scoring_pb2.StreamScoresRequest(frame=f, sequence=10 + i) for i, f in enumerate(frames)]
    answers = Raw(service).stream(opening(), *requests)
    assert [(a.sequence, a.result.HasField("score")) for a in answers] == [(10, True), (11, False), (12, True)]
    assert answers[1].result.error.violations[0].field == "frame.cloud"


def far_away(message: scoring_pb2.FrameInput) -> scoring_pb2.FrameInput:
    """Put all points of every crop to the edge of what a point may be: a box beside them is beyond it."""
    left = [proposal.box.left_px + proposal.box.right_px < message.calibration.image_width_px for proposal in message.proposals]
    points = np.array([[1000.0, 1000.0 if is_left else -1000.0, 0.0, 0.5] for is_left in left], np.float32)
    message.crops.points.CopyFrom(tensor_message(points))
    message.crops.point_counts.extend([1] * len(message.proposals))
    return message


def test_a_box_beyond_the_bounds_is_that_frames_error_alone(service: Any, make_frame: Any) -> None:
    good, far = frame_message(make_frame("good")), far_away(frame_message(make_frame("far")))
    raw = Raw(service)
    response = raw.score(scoring_pb2.ScoreFramesRequest(frames=[far, good]))
    assert reason(response.results[0].error) == "NON_FINITE_OUTPUT"
    assert "frame far" in response.results[0].error.message
    assert response.results[1].HasField("score")

    frames = [scoring_pb2.StreamScoresRequest(frame=frame, sequence=i) for i, frame in enumerate([good, far, good])]
    answers = [answer.result.WhichOneof("outcome") for answer in raw.stream(opening(), *frames)]
    assert answers == ["score", "error", "score"]


def test_the_largest_box_is_scored(service: Any, make_frame: Any) -> None:
    message = frame_message(make_frame("f"))
    box = message.proposals[0].box
    box.left_px, box.top_px, box.right_px, box.bottom_px = -1e6, -1e6, 1e6, 1e6
    response = Raw(service).score(scoring_pb2.ScoreFramesRequest(frames=[message]))
    assert response.results[0].HasField("score")


def test_a_negative_count_of_points_is_told(service: Any, make_frame: Any) -> None:
    message = frame_message(make_frame("f"))
    negate(message)
    response = Raw(service).score(scoring_pb2.ScoreFramesRequest(frames=[message]))
    (violation,) = response.results[0].error.violations
    assert (violation.value, violation.bound) == ("-1 at 1", "counts >= 0")


def test_a_stream_answers_an_overfull_frame_in_band(service: Any, make_frame: Any) -> None:
    good, crowded = frame_message(make_frame("good")), frame_message(make_frame("crowded", proposals=31))
    frames = [scoring_pb2.StreamScoresRequest(frame=frame, sequence=i) for i, frame in enumerate([crowded, good])]
    refused, answered = Raw(service).stream(opening(), *frames)
    assert (reason(refused.result.error), refused.result.error.violations[0].field) == ("TOO_LARGE", "frame.proposals")
    assert answered.result.HasField("score")
