import math
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta, timezone
from typing import Any, TypeVar

import numpy as np
import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy

from quandary import (
    LABEL_CLASSES,
    Box3D,
    Calibration,
    EgoPose,
    Frame,
    FrameLabels,
    FrameRecord,
    ImageBox,
    InvalidArgument,
    Label,
    Proposal,
    convert,
)
from quandary.v1 import fleet_log_pb2, geometry_pb2, labels_pb2, scoring_pb2

M = TypeVar("M", bound=Message)

identifiers = st.from_regex(r"[A-Za-z0-9_-]{1,20}", fullmatch=True)
shares = st.floats(0, 1)
image_boxes = st.builds(
    lambda x, y, w, h: ImageBox(x, y, x + w, y + h), st.floats(0, 1000), st.floats(0, 300), st.floats(1, 99), st.floats(1, 50)
)
metres = st.floats(-1000, 1000)
extents = st.floats(0.01, 100)
boxes = st.builds(Box3D, metres, metres, metres, extents, extents, extents, st.floats(-math.pi, math.pi))
proposals = st.lists(st.builds(Proposal, image_boxes, st.none() | shares, st.text(max_size=64)), max_size=4)
labels = st.builds(Label, st.sampled_from(LABEL_CLASSES), boxes, st.none() | shares, st.none() | st.integers(0, 3))
spans = st.timedeltas(timedelta(), timedelta(days=365))
times = st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30), timezones=st.just(UTC))
frame_labels = st.builds(
    FrameLabels,
    identifiers,
    st.lists(labels, max_size=3),
    st.lists(image_boxes, max_size=3),
    spans,
    st.just("") | identifiers,
)


@st.composite
def calibrations(draw: st.DrawFn) -> Calibration:
    turn, focal = draw(st.floats(-math.pi, math.pi)), draw(st.floats(100, 2000))
    axes = np.array([[0.0, -1, 0], [0, 0, -1], [1, 0, 0]])
    rotation = axes @ np.array([[np.cos(turn), -np.sin(turn), 0], [np.sin(turn), np.cos(turn), 0], [0, 0, 1]])
    translation = draw(st.lists(st.floats(-3, 3), min_size=3, max_size=3))
    camera = np.array([[focal, 0, 600, 40], [0, focal, 180, -3], [0, 0, 1, 0.01]])
    return Calibration(camera, np.c_[rotation, translation], 1200, 360)


@st.composite
def poses(draw: st.DrawFn) -> EgoPose:
    half = draw(st.floats(0, math.pi))
    return EgoPose(draw(metres), draw(metres), draw(metres), math.cos(half), 0.0, 0.0, math.sin(half))


records = st.builds(
    FrameRecord,
    identifiers,
    identifiers,
    times,
    st.just("file:///clouds/1.bin"),
    calibrations(),
    proposals,
    st.none() | poses(),
    st.just("") | st.just("file:///images/1.png"),
    st.dictionaries(st.text(max_size=9), st.text(max_size=9), max_size=4),
)


def over_the_wire(message: M) -> M:
    return type(message).FromString(message.SerializeToString())


def assert_same_calibration(found: Calibration, expected: Calibration) -> None:
    assert found.projection.tobytes() == expected.projection.tobytes()
    assert found.lidar_to_camera.tobytes() == expected.lidar_to_camera.tobytes()
    assert (found.image_width_px, found.image_height_px) == (expected.image_width_px, expected.image_height_px)


class TestRoundTrips:
    @given(st_numpy.arrays(np.float32, st_numpy.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=5)))
    def test_tensor(self, values: np.ndarray[Any, np.dtype[np.float32]]) -> None:
        found = convert.tensor_values(over_the_wire(convert.tensor_message(values)))
        assert found.shape == values.shape
        assert found.tobytes() == values.tobytes()

    @given(image_boxes)
    def test_image_box(self, box: ImageBox) -> None:
        assert convert.image_box(over_the_wire(convert.image_box_message(box))) == box

    @given(boxes)
    def test_box3d(self, box: Box3D) -> None:
        assert convert.box3d(over_the_wire(convert.box3d_message(box))) == box

    @given(calibrations())
    def test_calibration(self, calibration: Calibration) -> None:
        assert_same_calibration(convert.calibration(over_the_wire(convert.calibration_message(calibration))), calibration)

    @given(proposals)
    def test_proposals(self, given_: list[Proposal]) -> None:
        assert convert.proposals(over_the_wire(convert.proposal_message(proposal)) for proposal in given_) == given_

    @given(frame_labels)
    def test_frame_labels(self, frame: FrameLabels) -> None:
        assert convert.frame_labels(over_the_wire(convert.frame_labels_message(frame))) == frame

    @given(records)
    def test_record(self, record: FrameRecord) -> None:
        found = convert.record(over_the_wire(convert.record_message(record)))
        assert_same_calibration(found.calibration, record.calibration)
        for name in ("frame_id", "drive_id", "stamp", "cloud_uri", "proposals", "ego_pose", "image_uri", "tags"):
            assert getattr(found, name) == getattr(record, name)

    @given(times)
    def test_timestamp(self, time: datetime) -> None:
        assert convert.timestamp(over_the_wire(convert.timestamp_message(time))) == time

    def test_a_time_elsewhere_is_the_same_instant(self) -> None:
        time = datetime(2026, 1, 1, 1, tzinfo=timezone(timedelta(hours=2)))
        assert convert.timestamp(convert.timestamp_message(time)) == datetime(2025, 12, 31, 23, tzinfo=UTC)

    @given(st.timedeltas(-timedelta(days=3650), timedelta(days=3650)))
    def test_duration(self, length: timedelta) -> None:
        assert convert.duration(over_the_wire(convert.duration_message(length))) == length


class TestFrames:
    def test_a_cloud_is_sent_as_it_is(self, frame: Frame) -> None:
        assert frame.points is not None
        message = convert.frame_message(frame)
        assert message.WhichOneof("lidar") == "cloud"
        assert convert.tensor_values(message.cloud).tobytes() == frame.points.tobytes()
        assert (message.frame_id, message.drive_id) == ("frame-1", "drive-1")
        assert convert.proposals(message.proposals) == frame.proposals

    def test_crops_are_sent_one_after_the_other(self, frame: Frame) -> None:
        cropped = frame.cropped()
        assert cropped.crops is not None
        message = convert.frame_message(cropped)
        assert message.WhichOneof("lidar") == "crops"
        assert list(message.crops.point_counts) == [len(crop) for crop in cropped.crops]
        assert convert.tensor_values(message.crops.points).tobytes() == np.concatenate(cropped.crops).tobytes()

    def test_a_frame_without_proposals_sends_no_points(self, calibration: Calibration) -> None:
        message = convert.frame_message(Frame("f", calibration, [], crops=[]))
        assert message.WhichOneof("lidar") == "crops"
        assert list(message.crops.points.shape) == [0, 4]


def box_message(**changes: float) -> geometry_pb2.Box3D:
    fields: dict[str, Any] = {"x_m": 1, "y_m": 1, "z_m": 1, "length_m": 1, "width_m": 1, "height_m": 1, "yaw_rad": 1, **changes}
    return geometry_pb2.Box3D(**fields)


def calibration_message(**changes: Any) -> geometry_pb2.Calibration:
    fields: dict[str, Any] = {
        "projection": [700, 0, 600, 0, 0, 700, 180, 0, 0, 0, 1, 0],
        "lidar_to_camera": [0, -1, 0, 0, 0, 0, -1, 0, 1, 0, 0, 0],
        "image_width_px": 1200,
        "image_height_px": 360,
    }
    return geometry_pb2.Calibration(**{**fields, **changes})


def record_message(**changes: Any) -> fleet_log_pb2.FrameRecord:
    fields: dict[str, Any] = {
        "frame_id": "f",
        "drive_id": "d",
        "stamp": Timestamp(seconds=1),
        "cloud_uri": "file:///a.bin",
        "calibration": calibration_message(),
    }
    return fleet_log_pb2.FrameRecord(**{**fields, **changes})


def tensor(data_type: geometry_pb2.DataType.ValueType, shape: list[int], data: bytes) -> geometry_pb2.Tensor:
    return geometry_pb2.Tensor(data_type=data_type, shape=shape, data=data)


GOOD_BOX = geometry_pb2.ImageBox(right_px=9, bottom_px=9)
BAD_BOX = geometry_pb2.ImageBox(left_px=9, right_px=9, bottom_px=9)
OUTSIDE = geometry_pb2.Proposal(box=geometry_pb2.ImageBox(left_px=1300, right_px=1400, bottom_px=9))
FLOAT32, FLOAT64 = geometry_pb2.DATA_TYPE_FLOAT32, geometry_pb2.DATA_TYPE_FLOAT64
LABEL = labels_pb2.Label(class_name="Car", box=box_message())

REFUSED: list[tuple[str, Callable[[Any], object], Message]] = [
    ("data_type", convert.tensor_values, tensor(geometry_pb2.DATA_TYPE_UNSPECIFIED, [1], bytes(4))),
    ("shape", convert.tensor_values, tensor(FLOAT32, [-1], b"")),
    ("shape", convert.tensor_values, tensor(FLOAT32, [1] * 9, bytes(4))),
    ("shape", convert.tensor_values, tensor(FLOAT32, [2**62, 4, 0], b"")),
    ("data", convert.tensor_values, tensor(FLOAT32, [2, 4], bytes(31))),
    ("data", convert.tensor_values, tensor(FLOAT64, [2, 4], bytes(32))),
    ("data", convert.tensor_values, tensor(FLOAT32, [], b"")),
    ("left_px", convert.image_box, BAD_BOX),
    ("length_m", convert.box3d, box_message(length_m=0)),
    ("x_m", convert.box3d, box_message(x_m=math.nan)),
    ("projection", convert.calibration, calibration_message(projection=[1, 2, 3])),
    ("projection", convert.calibration, calibration_message(projection=[0] * 12)),
    ("lidar_to_camera", convert.calibration, calibration_message(lidar_to_camera=[])),
    ("image_width_px", convert.calibration, calibration_message(image_width_px=0)),
    ("box", convert.label, labels_pb2.Label(class_name="Car")),
    ("box.yaw_rad", convert.label, labels_pb2.Label(class_name="Car", box=box_message(yaw_rad=4))),
    ("class_name", convert.label, labels_pb2.Label(class_name="Bus", box=box_message())),
    ("frame_id", convert.frame_labels, labels_pb2.FrameLabels()),
    (
        "labels[1].truncation",
        convert.frame_labels,
        labels_pb2.FrameLabels(
            frame_id="f", labels=[LABEL, labels_pb2.Label(class_name="Car", box=box_message(), truncation=2)]
        ),
    ),
    (
        "ignored_regions[1].left_px",
        convert.frame_labels,
        labels_pb2.FrameLabels(frame_id="f", ignored_regions=[GOOD_BOX, BAD_BOX]),
    ),
    ("time_spent", convert.frame_labels, labels_pb2.FrameLabels(frame_id="f", time_spent=Duration(seconds=-1))),
    ("time_spent", convert.frame_labels, labels_pb2.FrameLabels(frame_id="f", time_spent=Duration(seconds=10**12))),
    ("stamp", convert.record, fleet_log_pb2.FrameRecord(frame_id="f", drive_id="d")),
    ("stamp", convert.record, record_message(stamp=Timestamp(seconds=10**15))),
    ("calibration.image_height_px", convert.record, record_message(calibration=calibration_message(image_height_px=-1))),
    ("calibration.projection", convert.record, record_message(calibration=None)),
    ("proposals[0].box", convert.record, record_message(proposals=[geometry_pb2.Proposal()])),
    ("proposals[0].box.left_px", convert.record, record_message(proposals=[geometry_pb2.Proposal(box=BAD_BOX)])),
    ("proposals[0].box", convert.record, record_message(proposals=[OUTSIDE])),
    ("proposals[0].confidence", convert.record, record_message(proposals=[geometry_pb2.Proposal(box=GOOD_BOX, confidence=2)])),
    ("ego_pose.qw", convert.record, record_message(ego_pose=geometry_pb2.Pose())),
    ("cloud_uri", convert.record, record_message(cloud_uri="")),
    ("tags", convert.record, record_message(tags={str(i): "" for i in range(33)})),
    ("", convert.timestamp, Timestamp(seconds=1, nanos=-1)),
    ("", convert.duration, Duration(seconds=1, nanos=2 * 10**9)),
]


@pytest.mark.parametrize(("field", "read", "message"), REFUSED)
def test_a_wrong_message_is_refused_by_the_path_of_its_field(
    field: str, read: Callable[[Any], object], message: Message
) -> None:
    with pytest.raises(InvalidArgument) as error:
        read(message)
    assert [violation.field for violation in error.value.violations] == [field]


def test_doubles_are_read_as_float32() -> None:
    found = convert.tensor_values(tensor(FLOAT64, [2], np.array([0.1, 1e300], "<f8").tobytes()))
    assert found.dtype == np.float32
    assert found.tolist() == [float(np.float32(0.1)), math.inf]


int64 = st.integers(-(2**63), 2**63 - 1)
int32 = st.integers(-(2**31), 2**31 - 1)


@given(st.integers(0, 3), st.lists(st.integers(0, 3) | int64, max_size=9), st.binary(max_size=24))
def test_any_tensor_is_read_or_refused(data_type: int, shape: list[int], data: bytes) -> None:
    message = geometry_pb2.Tensor.FromString(b"\x08" + bytes([data_type]))
    message.shape.extend(shape)
    message.data = data
    with suppress(InvalidArgument):
        assert convert.tensor_values(message).shape == tuple(shape)


@given(int64, int32)
def test_any_time_and_duration_is_read_or_refused(seconds: int, nanos: int) -> None:
    with suppress(InvalidArgument):
        assert convert.timestamp(Timestamp(seconds=seconds, nanos=nanos)).tzinfo is UTC
    with suppress(InvalidArgument):
        assert abs(convert.duration(Duration(seconds=seconds, nanos=nanos))) <= timedelta(days=3651)


def test_absent_and_zero_confidence_differ() -> None:
    absent, zero = convert.proposals([geometry_pb2.Proposal(box=GOOD_BOX), geometry_pb2.Proposal(box=GOOD_BOX, confidence=0)])
    assert absent.confidence is None
    assert zero.confidence == 0
    assert scoring_pb2.FrameInput(proposals=[convert.proposal_message(absent)]).proposals[0].HasField("confidence") is False
