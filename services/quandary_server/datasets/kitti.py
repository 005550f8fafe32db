"""A folder in the KITTI object layout, real or simulated, frame by frame."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from quandary.errors import InvalidArgument, NotFound
from quandary.frames import Proposal
from quandary.geometry import Calibration, ImageBox
from quandary.labels import FrameLabels
from quandary.records import EgoPose
from quandary_server.datasets.calibration import parse_calibration
from quandary_server.datasets.detections import read_detections
from quandary_server.datasets.files import read_lines, training_file
from quandary_server.datasets.index import SPLITS, FrameEntry, read_index
from quandary_server.datasets.labels import LabelFile, parse_labels

EPOCH = datetime(2011, 9, 26, tzinfo=UTC)
DRIVE_SPACING = timedelta(hours=1)
SWEEP_PERIOD = timedelta(milliseconds=100)
TRACKING = "tracking"


@dataclass(frozen=True)
class DatasetFrame:
    """One labelled frame.

    stamp is made up: raw frame number at 10 Hz, drives an hour apart in the folder's order from 2011-09-26T00:00Z, since
    the object layout keeps no times. label_boxes: the 2D boxes that came with the labels, one each. detections: the
    published 2D detections, empty where there are none.
    """

    frame_id: str
    drive_id: str
    split: str
    stamp: datetime
    cloud_path: Path
    calibration: Calibration
    labels: FrameLabels
    label_boxes: tuple[ImageBox, ...]
    detections: tuple[Proposal, ...] = ()
    ego_pose: EgoPose | None = None
    image_path: Path | None = None


class KittiFolder:
    """The frames below `root`, which holds training/{velodyne,label_2,calib} and may hold frames.csv and detections.

    Raises InvalidArgument, named by file and line, for a folder of another layout, a torn index or torn detections.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._entries = {entry.frame_id: entry for entry in read_index(root)}
        self._detections = read_detections(root)
        drives = sorted({entry.drive_id for entry in self._entries.values()})
        self._epochs = {drive_id: EPOCH + i * DRIVE_SPACING for i, drive_id in enumerate(drives)}

    def frames(self, split: str | None = None) -> list[FrameEntry]:
        """Return the frames in drive order, of one split or all; raises InvalidArgument for an unknown split."""
        if split is not None and split not in SPLITS:
            raise InvalidArgument.of("split", repr(split), f"one of {', '.join(SPLITS)}")
        return [entry for entry in self._entries.values() if split in (None, entry.split)]

    def read(self, frame_id: str) -> DatasetFrame:
        """Return one frame; its cloud is left on disk, for `read_cloud`.

        Raises NotFound for an unknown frame, InvalidArgument, named by file and line, for a missing or malformed file.
        """
        entry = self._entry(frame_id)
        cloud_path, cloud_name = training_file(self.root, "velodyne", frame_id, ".bin")
        if not cloud_path.is_file():
            raise InvalidArgument.of(cloud_name, "missing", "a file")
        image_path = self._image_path(frame_id)
        calibration, content = self._labels(entry)
        return DatasetFrame(
            frame_id=frame_id,
            drive_id=entry.drive_id,
            split=entry.split,
            stamp=self._epochs[entry.drive_id] + entry.raw_frame * SWEEP_PERIOD,
            cloud_path=cloud_path,
            calibration=calibration,
            labels=FrameLabels(frame_id, content.labels, content.ignored_regions),
            label_boxes=content.boxes,
            detections=tuple(self._detections.get(frame_id, ())),
            ego_pose=entry.ego_pose,
            image_path=image_path,
        )

    def labels(self, frame_id: str) -> tuple[FrameLabels, tuple[str, ...]]:
        """Return the labels of one frame, and where each stands (`label_2/000002.txt:3`); the folder need not have its cloud.

        Raises as `read` does.
        """
        _, content = self._labels(self._entry(frame_id))
        _, name = training_file(self.root, "label_2", frame_id, ".txt")
        lines = tuple(f"{name}:{line}" for line in content.lines)
        return FrameLabels(frame_id, content.labels, content.ignored_regions), lines

    def _entry(self, frame_id: str) -> FrameEntry:
        entry = self._entries.get(frame_id)
        if entry is None:
            raise NotFound(f"no frame {frame_id} in {self.root.name}")
        return entry

    def _image_path(self, frame_id: str) -> Path | None:
        path, _ = training_file(self.root, "image_2", frame_id, ".png")
        return path if path.is_file() else None

    def _labels(self, entry: FrameEntry) -> tuple[Calibration, LabelFile]:
        path, name = training_file(self.root, "calib", entry.frame_id, ".txt")
        calibration = parse_calibration(name, read_lines(path, name), self._image_path(entry.frame_id))
        path, name = training_file(self.root, "label_2", entry.frame_id, ".txt")
        is_level = entry.label_source == TRACKING
        return calibration, parse_labels(name, read_lines(path, name), calibration, truncation_is_level=is_level)
