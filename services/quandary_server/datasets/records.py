"""A dataset frame as the fleet would log it."""

from collections.abc import Sequence

from quandary.frames import Proposal
from quandary.records import FrameRecord
from quandary_server.datasets.kitti import DatasetFrame


def frame_record(frame: DatasetFrame, proposals: Sequence[Proposal]) -> FrameRecord:
    """Return the record of a frame with these proposals, its cloud (and image, if there is one) as file URIs."""
    return FrameRecord(
        frame_id=frame.frame_id,
        drive_id=frame.drive_id,
        stamp=frame.stamp,
        cloud_uri=frame.cloud_path.resolve().as_uri(),
        calibration=frame.calibration,
        proposals=tuple(proposals),
        ego_pose=frame.ego_pose,
        image_uri="" if frame.image_path is None else frame.image_path.resolve().as_uri(),
    )
