"""frames.csv: which frame belongs to which drive, at which time, and to which split."""

import csv
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from quandary.errors import InvalidArgument, within
from quandary.frames import check_identifier
from quandary.records import EgoPose
from quandary_server.datasets.files import TRAINING, numbers, read_lines, write_lines

INDEX = "frames.csv"
COLUMNS = ("id", "drive", "raw_frame", "points", "label_source", "split")
POSE_COLUMNS = ("ego_x_m", "ego_y_m", "ego_z_m", "ego_qw", "ego_qx", "ego_qy", "ego_qz")
SPLITS = ("pool", "control", "evaluation")


@dataclass(frozen=True, slots=True)
class FrameEntry:
    """One row of the index. raw_frame counts sweeps at 10 Hz within the drive; ego_pose where the folder knows it.

    label_source `tracking`: labels converted from KITTI tracking, whose truncation is a level and not a share.
    Raises InvalidArgument for a malformed id or drive, a negative number or an unknown split.
    """

    frame_id: str
    drive_id: str
    raw_frame: int
    points: int
    label_source: str = "object"
    split: str = "pool"
    ego_pose: EgoPose | None = None

    def __post_init__(self) -> None:
        check_identifier("id", self.frame_id)
        check_identifier("drive", self.drive_id)
        for name in ("raw_frame", "points"):
            if getattr(self, name) < 0:
                raise InvalidArgument.of(name, getattr(self, name), ">= 0")
        if self.split not in SPLITS:
            raise InvalidArgument.of("split", repr(self.split), f"one of {', '.join(SPLITS)}")


def read_index(root: Path) -> list[FrameEntry]:
    """Return the frames of a folder in drive order (drive, raw frame).

    Without frames.csv every cloud is a frame, without clouds every label file, its own drive and in the pool. Raises
    InvalidArgument, named by file and line, for a missing column or folder, a bad row, an id given twice.
    """
    path = root / INDEX
    if path.is_file():
        return parse_index(INDEX, read_lines(path, INDEX))
    if clouds := sorted((root / TRAINING / "velodyne").glob("*.bin")):
        return [FrameEntry(cloud.stem, cloud.stem, 0, cloud.stat().st_size // 16) for cloud in clouds]
    if labels := sorted((root / TRAINING / "label_2").glob("*.txt")):
        return [FrameEntry(file.stem, file.stem, 0, 0) for file in labels]
    missing = "without frames.csv, training/velodyne/*.bin or training/label_2/*.txt"
    raise InvalidArgument.of(str(root), missing, "a folder in the KITTI object layout")


def parse_index(name: str, lines: Sequence[str]) -> list[FrameEntry]:
    """Return the rows of frames.csv in drive order; raises InvalidArgument, named by file and line."""
    table = csv.DictReader(lines)
    header = table.fieldnames or ()
    if missing := [column for column in COLUMNS if column not in header]:
        raise InvalidArgument.of(f"{name}:1", f"without {', '.join(missing)}", f"columns {', '.join(COLUMNS)}")
    entries: dict[str, FrameEntry] = {}
    for row in table:
        with within(f"{name}:{table.line_num}"):
            if None in row or None in row.values():
                raise InvalidArgument.of("", "a row of another length", f"{len(header)} columns")
            entry = _entry(row)
            if entry.frame_id in entries:
                raise InvalidArgument.of("id", repr(entry.frame_id), "given once")
        entries[entry.frame_id] = entry
    return sorted(entries.values(), key=lambda entry: (entry.drive_id, entry.raw_frame, entry.frame_id))


def write_index(root: Path, entries: Iterable[FrameEntry]) -> None:
    """Write frames.csv, in the order given; ego poses are written if every frame has one."""
    rows = list(entries)
    posed = all(entry.ego_pose is not None for entry in rows)
    lines = [",".join(COLUMNS + POSE_COLUMNS if posed else COLUMNS)]
    for entry in rows:
        fields: list[object] = [
            entry.frame_id, entry.drive_id, entry.raw_frame, entry.points, entry.label_source, entry.split
        ]  # fmt: skip
        if posed and (pose := entry.ego_pose) is not None:
            fields += [f"{value:.9f}" for value in (pose.x_m, pose.y_m, pose.z_m, pose.qw, pose.qx, pose.qy, pose.qz)]
        lines.append(",".join(map(str, fields)))
    write_lines(root / INDEX, lines)


def _entry(row: Mapping[str, str]) -> FrameEntry:
    pose = None
    if all(row.get(column) for column in POSE_COLUMNS):
        pose = EgoPose(*numbers("ego_x_m", [row[column] for column in POSE_COLUMNS]).tolist())
    counts = {}
    for column in ("raw_frame", "points"):
        if not row[column].isascii() or not row[column].isdigit():
            raise InvalidArgument.of(column, repr(row[column]), "an integer >= 0")
        counts[column] = int(row[column])
    return FrameEntry(row["id"], row["drive"], counts["raw_frame"], counts["points"], row["label_source"], row["split"], pose)
