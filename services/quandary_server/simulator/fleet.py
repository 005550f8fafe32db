"""Writing simulated drives as a folder in the KITTI object layout."""

import shutil
from collections.abc import Callable
from pathlib import Path

from quandary.errors import InvalidArgument
from quandary_server.datasets.index import FrameEntry, write_index
from quandary_server.datasets.writing import write_detections, write_frame
from quandary_server.simulator.camera import camera_calibration
from quandary_server.simulator.drive import drive_frames
from quandary_server.simulator.settings import FleetSettings

Progress = Callable[[int, int], None]


def simulate_drive(folder: Path, settings: FleetSettings, drive: int, progress: Progress | None = None) -> list[FrameEntry]:
    """Write the frames of one drive, numbered from 0, and return their index rows; drives can be written in any order.

    progress: called with the frames done and the frames of this drive.
    """
    calibration, drive_id = camera_calibration(), f"sim_{settings.seed:04d}_drive_{drive:04d}"
    entries, proposals = [], {}
    for number, frame in enumerate(drive_frames(settings, drive)):
        frame_id = f"{drive:03d}{number:03d}"
        write_frame(folder, frame_id, frame.points, calibration, frame.content)
        proposals[frame_id] = frame.proposals
        entries.append(
            FrameEntry(
                frame_id=frame_id,
                drive_id=drive_id,
                raw_frame=number * settings.sweeps_between_frames,
                points=len(frame.points),
                label_source="simulated",
                split=settings.place(drive)[0],
                ego_pose=frame.pose.as_ego_pose(),
            )
        )
        if progress is not None:
            progress(number + 1, settings.frames_per_drive)
    write_detections(folder, f"drive_{drive:04d}", proposals)
    return entries


def simulate_fleet(folder: Path, settings: FleetSettings, progress: Progress | None = None) -> list[FrameEntry]:
    """Write all drives and their index as a new folder, whole or not at all; returns the index rows.

    The same settings give the same bytes. progress: called with the frames done and the frames of the fleet.
    Raises InvalidArgument if the folder exists and is not empty.
    """
    if folder.exists() and any(folder.iterdir()):
        raise InvalidArgument.of("folder", folder.name, "new or empty")
    unfinished = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(unfinished, ignore_errors=True)

    total, entries = settings.drives * settings.frames_per_drive, list[FrameEntry]()
    for drive in range(settings.drives):
        entries += simulate_drive(unfinished, settings, drive, _counted(progress, len(entries), total))
    write_index(unfinished, entries)
    unfinished.replace(folder)
    return entries


def _counted(progress: Progress | None, before: int, total: int) -> Progress | None:
    """Return the progress of one drive as progress of the fleet."""
    if progress is None:
        return None
    report = progress
    return lambda done, _: report(before + done, total)
