"""Between the domain and its messages, both ways. From a message: raises InvalidArgument with the field's path."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from math import prod
from typing import Any

import numpy as np
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from numpy.typing import NDArray

from quandary.errors import InvalidArgument, within
from quandary.frames import Frame, Proposal
from quandary.geometry import Box3D, Calibration, ImageBox
from quandary.labels import FrameLabels, Label
from quandary.records import EgoPose, FrameRecord
from quandary.v1 import fleet_log_pb2, geometry_pb2, labels_pb2, scoring_pb2

MAX_DURATION_S = 10 * 365 * 86_400
MAX_AXES = 8
MAX_ELEMENTS = 2**31

_DTYPES: dict[int, np.dtype[Any]] = {
    geometry_pb2.DATA_TYPE_FLOAT32: np.dtype("<f4"),
    geometry_pb2.DATA_TYPE_FLOAT64: np.dtype("<f8"),
}


def tensor_message(values: NDArray[np.float32]) -> geometry_pb2.Tensor:
    """Return float32 values of any shape as a Tensor."""
    data = np.ascontiguousarray(values, dtype="<f4").tobytes()
    return geometry_pb2.Tensor(data_type=geometry_pb2.DATA_TYPE_FLOAT32, shape=values.shape, data=data)


def tensor_values(message: geometry_pb2.Tensor) -> NDArray[np.float32]:
    """Return the values of a Tensor as float32, in its shape; those of a float32 Tensor are read-only."""
    dtype = _DTYPES.get(message.data_type)
    if dtype is None:
        raise InvalidArgument.of("data_type", message.data_type, "DATA_TYPE_FLOAT32 or DATA_TYPE_FLOAT64")
    shape = tuple(message.shape)
    if len(shape) > MAX_AXES or any(extent < 0 for extent in shape):
        raise InvalidArgument.of("shape", shape, f"at most {MAX_AXES} extents >= 0")
    if prod(max(extent, 1) for extent in shape) > MAX_ELEMENTS:  # beside an extent of 0 any other would pass the next check
        raise InvalidArgument.of("shape", shape, f"at most {MAX_ELEMENTS} elements")
    expected = dtype.itemsize * prod(shape)
    if len(message.data) != expected:
        raise InvalidArgument.of("data", f"{len(message.data)} bytes", f"{expected} bytes for shape {list(shape)}")
    with np.errstate(over="ignore"):  # a double too large for float32 becomes infinite, which every reader refuses
        values: NDArray[np.float32] = np.frombuffer(message.data, dtype).reshape(shape).astype(np.float32, copy=False)
    return values


def image_box_message(box: ImageBox) -> geometry_pb2.ImageBox:
    """Return the message of an image box."""
    return geometry_pb2.ImageBox(left_px=box.left_px, top_px=box.top_px, right_px=box.right_px, bottom_px=box.bottom_px)


def image_box(message: geometry_pb2.ImageBox) -> ImageBox:
    """Return the image box of a message."""
    return ImageBox(message.left_px, message.top_px, message.right_px, message.bottom_px)


def box3d_message(box: Box3D) -> geometry_pb2.Box3D:
    """Return the message of a 3D box."""
    return geometry_pb2.Box3D(
        x_m=box.x_m,
        y_m=box.y_m,
        z_m=box.z_m,
        length_m=box.length_m,
        width_m=box.width_m,
        height_m=box.height_m,
        yaw_rad=box.yaw_rad,
    )


def box3d(message: geometry_pb2.Box3D) -> Box3D:
    """Return the 3D box of a message."""
    m = message
    return Box3D(m.x_m, m.y_m, m.z_m, m.length_m, m.width_m, m.height_m, m.yaw_rad)


def calibration_message(calibration: Calibration) -> geometry_pb2.Calibration:
    """Return the message of a calibration."""
    return geometry_pb2.Calibration(
        projection=calibration.projection.ravel().tolist(),
        lidar_to_camera=calibration.lidar_to_camera.ravel().tolist(),
        image_width_px=calibration.image_width_px,
        image_height_px=calibration.image_height_px,
    )


def calibration(message: geometry_pb2.Calibration) -> Calibration:
    """Return the calibration of a message."""
    return Calibration(
        np.array(message.projection), np.array(message.lidar_to_camera), message.image_width_px, message.image_height_px
    )


def proposal_message(proposal: Proposal) -> geometry_pb2.Proposal:
    """Return the message of a proposal."""
    box = image_box_message(proposal.box)
    return geometry_pb2.Proposal(box=box, confidence=proposal.confidence, class_hint=proposal.class_hint)


def proposals(messages: Iterable[geometry_pb2.Proposal]) -> list[Proposal]:
    """Return the proposals of messages; a wrong one is named proposals[i]."""
    found = []
    for i, message in enumerate(messages):
        with within(f"proposals[{i}]"):
            if not message.HasField("box"):
                raise InvalidArgument.of("box", "missing", "set")
            with within("box"):
                box = image_box(message.box)
            confidence = message.confidence if message.HasField("confidence") else None
            found.append(Proposal(box, confidence, message.class_hint))
    return found


def frame_message(frame: Frame) -> scoring_pb2.FrameInput:
    """Return the message of a frame to score."""
    message = scoring_pb2.FrameInput(
        frame_id=frame.frame_id,
        drive_id=frame.drive_id,
        calibration=calibration_message(frame.calibration),
        proposals=[proposal_message(p) for p in frame.proposals],
    )
    if frame.points is not None:
        message.cloud.CopyFrom(tensor_message(frame.points))
    if frame.crops is not None:
        points = np.concatenate([np.empty((0, 4), np.float32), *frame.crops])
        crops = scoring_pb2.CropSet(points=tensor_message(points), point_counts=[len(crop) for crop in frame.crops])
        message.crops.CopyFrom(crops)
    return message


def label_message(label: Label) -> labels_pb2.Label:
    """Return the message of a label."""
    return labels_pb2.Label(
        class_name=label.class_name,
        box=box3d_message(label.box),
        truncation=label.truncation,
        occlusion=label.occlusion,
    )


def label(message: labels_pb2.Label) -> Label:
    """Return the label of a message."""
    if not message.HasField("box"):
        raise InvalidArgument.of("box", "missing", "set")
    with within("box"):
        box = box3d(message.box)
    truncation = message.truncation if message.HasField("truncation") else None
    occlusion = message.occlusion if message.HasField("occlusion") else None
    return Label(message.class_name, box, truncation, occlusion)


def frame_labels_message(frame: FrameLabels) -> labels_pb2.FrameLabels:
    """Return the message of a frame's labels."""
    return labels_pb2.FrameLabels(
        frame_id=frame.frame_id,
        labels=[label_message(found) for found in frame.labels],
        ignored_regions=[image_box_message(region) for region in frame.ignored_regions],
        time_spent=duration_message(frame.time_spent),
        prelabel_generation=frame.prelabel_generation,
    )


def frame_labels(message: labels_pb2.FrameLabels) -> FrameLabels:
    """Return the labels of a message."""
    labels, regions = [], []
    for i, found in enumerate(message.labels):
        with within(f"labels[{i}]"):
            labels.append(label(found))
    for i, region in enumerate(message.ignored_regions):
        with within(f"ignored_regions[{i}]"):
            regions.append(image_box(region))
    with within("time_spent"):
        time_spent = duration(message.time_spent)
    return FrameLabels(message.frame_id, labels, regions, time_spent, message.prelabel_generation)


def record_message(record: FrameRecord) -> fleet_log_pb2.FrameRecord:
    """Return the message of a frame record."""
    message = fleet_log_pb2.FrameRecord(
        frame_id=record.frame_id,
        drive_id=record.drive_id,
        stamp=timestamp_message(record.stamp),
        cloud_uri=record.cloud_uri,
        calibration=calibration_message(record.calibration),
        proposals=[proposal_message(p) for p in record.proposals],
        image_uri=record.image_uri,
        tags=record.tags,
    )
    if (pose := record.ego_pose) is not None:
        message.ego_pose.CopyFrom(
            geometry_pb2.Pose(x_m=pose.x_m, y_m=pose.y_m, z_m=pose.z_m, qw=pose.qw, qx=pose.qx, qy=pose.qy, qz=pose.qz)
        )
    return message


def record(message: fleet_log_pb2.FrameRecord) -> FrameRecord:
    """Return the frame record of a message."""
    if not message.HasField("stamp"):
        raise InvalidArgument.of("stamp", "missing", "set")
    with within("stamp"):
        stamp = timestamp(message.stamp)
    with within("calibration"):
        found = calibration(message.calibration)
    ego_pose = None
    if message.HasField("ego_pose"):
        with within("ego_pose"):
            p = message.ego_pose
            ego_pose = EgoPose(p.x_m, p.y_m, p.z_m, p.qw, p.qx, p.qy, p.qz)
    return FrameRecord(
        message.frame_id,
        message.drive_id,
        stamp,
        message.cloud_uri,
        found,
        proposals(message.proposals),
        ego_pose,
        message.image_uri,
        dict(message.tags),
    )


def timestamp_message(time: datetime) -> Timestamp:
    """Return the message of a time with time zone."""
    message = Timestamp()
    message.FromDatetime(time.astimezone(UTC))
    return message


def timestamp(message: Timestamp) -> datetime:
    """Return the time of a message, in UTC."""
    try:
        return message.ToDatetime(UTC)
    except (ValueError, OverflowError):
        raise InvalidArgument.of("", f"{message.seconds} s, {message.nanos} ns", "a time of the years 1 to 9999") from None


def duration_message(length: timedelta) -> Duration:
    """Return the message of a length of time."""
    message = Duration()
    message.FromTimedelta(length)
    return message


def duration(message: Duration) -> timedelta:
    """Return the length of time of a message."""
    if abs(message.seconds) > MAX_DURATION_S or abs(message.nanos) >= 10**9:
        raise InvalidArgument.of("", f"{message.seconds} s, {message.nanos} ns", "a duration of at most 10 years")
    return message.ToTimedelta()
