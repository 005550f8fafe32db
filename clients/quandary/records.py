"""What a fleet logs of a frame: a reference to the cloud, never the cloud."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from types import MappingProxyType

from quandary.errors import InvalidArgument, within
from quandary.frames import Proposal, check_identifier, check_inside_image
from quandary.geometry import Calibration

__all__ = ["EgoPose", "FrameRecord"]

MAX_TAGS = 32
MAX_TAG_CHARACTERS = 64
MAX_URI_CHARACTERS = 2048


@dataclass(frozen=True, slots=True)
class EgoPose:
    """Pose of the LiDAR in the drive's fixed frame: position in metres and a unit quaternion."""

    x_m: float
    y_m: float
    z_m: float
    qw: float
    qx: float
    qy: float
    qz: float

    def __post_init__(self) -> None:
        norm = sum(part * part for part in (self.qw, self.qx, self.qy, self.qz))  # a power would raise where this is infinite
        if not abs(norm - 1) <= 1e-3:
            raise InvalidArgument.of("qw", f"a quaternion of squared norm {norm:g}", "a unit quaternion")
        if not abs(self.x_m) + abs(self.y_m) + abs(self.z_m) < 1e9:
            raise InvalidArgument.of("x_m", (self.x_m, self.y_m, self.z_m), "finite, below 1e9 m")


@dataclass(frozen=True)
class FrameRecord:
    """One frame of the fleet log.

    stamp: when the sweep was taken, with a time zone. cloud_uri: where float32 (N, 4) rows x, y, z, intensity lie (file:), or a
    foxglove.PointCloud in an MCAP file (mcap:). Raises InvalidArgument for a malformed id or URI, a stamp without time zone, a
    proposal outside the image, too many tags.
    """

    frame_id: str
    drive_id: str
    stamp: datetime
    cloud_uri: str
    calibration: Calibration
    proposals: Sequence[Proposal] = ()
    ego_pose: EgoPose | None = None
    image_uri: str = ""
    tags: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))

    def __post_init__(self) -> None:
        check_identifier("frame_id", self.frame_id)
        check_identifier("drive_id", self.drive_id)
        if self.stamp.tzinfo is None:
            raise InvalidArgument.of("stamp", self.stamp, "a time with a time zone")
        if not 0 < len(self.cloud_uri) <= MAX_URI_CHARACTERS:
            raise InvalidArgument.of("cloud_uri", repr(self.cloud_uri), f"a URI of 1 to {MAX_URI_CHARACTERS} characters")
        for i, proposal in enumerate(self.proposals):
            with within(f"proposals[{i}]"):
                check_inside_image(proposal.box, self.calibration)
        if len(self.tags) > MAX_TAGS:
            raise InvalidArgument.of("tags", f"{len(self.tags)} tags", f"at most {MAX_TAGS}")
        for key, value in self.tags.items():
            if max(len(key), len(value)) > MAX_TAG_CHARACTERS:
                raise InvalidArgument.of(
                    "tags", f"{key}={value}", f"keys and values of at most {MAX_TAG_CHARACTERS} characters"
                )
