"""How many of the objects of a drive a few leased tasks show: near copies must not fill the queue."""

import asyncio
import os
import statistics
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import numpy as np

from quandary import convert
from quandary.errors import InvalidArgument
from quandary.records import FrameRecord
from quandary_server.bench.figures import Figure, at_least, reported
from quandary_server.bench.progress import Told
from quandary_server.bench.queue.local_scorer import LocalScorer, Views
from quandary_server.bench.queue.taught import taught_generations
from quandary_server.datasets.files import read_lines
from quandary_server.datasets.kitti import KittiFolder
from quandary_server.datasets.proposals import label_proposals
from quandary_server.datasets.records import frame_record
from quandary_server.selection.plan import Strategy
from quandary_server.selector.assignment import Assignment
from quandary_server.selector.consumer import Consumer
from quandary_server.selector.pace import Pace
from quandary_server.selector.rescoring import Rescorer
from quandary_server.settings import QuerySettings
from quandary_server.simulator.camera import camera_calibration
from quandary_server.simulator.drive import drive_frames
from quandary_server.simulator.settings import FleetSettings
from quandary_server.storage.fleet_log import SqliteFleetLog
from quandary_server.storage.frame_log import LogRecord
from quandary_server.storage.store import Store
from quandary_server.storage.task_values import ACTIVE_QUEUE, RejectKind

SEEDS, TASKS = 20, 8
REACH = 0.9
FOLDER = "QUANDARY_KITTI"
TRACKED = {"2011_09_26_drive_0005_sync": "0000.txt", "2011_09_26_drive_0060_sync": "0012.txt"}
"""Drives with tracking labels, and their files."""

SIMULATED = FleetSettings(
    pool_drives=4, control_drives=0, evaluation_drives=0, frames_per_drive=75, frame_interval_s=0.2, seed=77
)
PLAIN = QuerySettings(strategy=Strategy.TOP_K, class_floor=0.0, gap=timedelta(), chance=0.0, fold=False)
START = datetime(2026, 1, 1, tzinfo=UTC)
PACE = Pace(batch=64, in_flight=8, poll=timedelta(seconds=1))

Tracks = Mapping[str, frozenset[str]]
"""The objects that each frame shows, by frame id."""


@dataclass(frozen=True)
class Drives:
    """Frames as the fleet logs them, and the objects that they show."""

    records: Sequence[FrameRecord]
    tracks: Tracks

    def covered(self, frame_ids: Iterable[str]) -> float:
        """Return how many objects frames show, over those that as many frames can show (greedy cover)."""
        chosen = list(frame_ids)
        best: frozenset[str] = frozenset()
        for _ in chosen:
            best |= max(self.tracks.values(), key=lambda shown: len(shown - best))
        return len(frozenset().union(*(self.tracks[frame_id] for frame_id in chosen))) / len(best)


def track_figures(told: Told) -> list[Figure]:
    """Return the share of objects that eight leased tasks show, of real and of simulated drives, beside plain ways to choose.

    A seed is that of a generation (three of twenty members, taught on simulated drives) and of the query's rng. Raises
    InvalidArgument unless QUANDARY_KITTI names a folder with tracking labels.
    """
    root = os.environ.get(FOLDER)
    if not root:
        raise InvalidArgument.of(FOLDER, "missing", "a folder in the KITTI layout with tracking_labels/")
    real = kitti_drives(Path(root))
    views: Views = {}
    scorers = [LocalScorer(generation, views) for generation in taught_generations(SEEDS, told)]
    with tempfile.TemporaryDirectory() as folder:
        simulated = simulated_drives(Path(folder), told)
        figures = []
        for prefix, drives in (("", real), ("simulated_", simulated)):
            figures += _figures(prefix, drives, scorers, told)
    return figures


def _figures(prefix: str, drives: Drives, scorers: Sequence[LocalScorer], told: Told) -> list[Figure]:
    asked, plain, random = [], [], []
    frame_ids = sorted(drives.tracks)
    for seed, scorer in enumerate(scorers):
        told(f"{prefix}drives asked for", seed, len(scorers))
        asked.append(drives.covered(leased(drives.records, scorer, QuerySettings(), seed)))
        plain.append(drives.covered(leased(drives.records, scorer, PLAIN, seed)))
        random.append(drives.covered(np.random.default_rng(seed).choice(frame_ids, TASKS, replace=False).tolist()))
    unit = f"share of the objects that {TASKS} frames can show"
    covered = partial(at_least, bound=REACH) if not prefix else reported
    return [
        covered(f"{prefix}tracks_covered", statistics.mean(asked), unit, samples=_rounded(asked)),
        reported(f"{prefix}plain_top_{TASKS}", statistics.mean(plain), unit, _rounded(plain)),
        reported(f"{prefix}random_{TASKS}", statistics.mean(random), unit, _rounded(random)),
    ]


class Uncounted:
    """Hears what became of records, and leaves it at that."""

    def applied(self, count: int) -> None:
        """Hear how many were applied."""

    def rejected(self, kind: RejectKind, count: int) -> None:
        """Hear how many were rejected."""


def leased(records: Sequence[FrameRecord], scorer: LocalScorer, query: QuerySettings, seed: int) -> list[str]:
    """Return the frames of the first tasks that a selector leases out once it took the records in, scored and ranked them."""
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        store = stack.enter_context(Store.open(Path(folder, "store.db")))
        fleet_log = stack.enter_context(SqliteFleetLog.open(Path(folder, "log.db")))
        now = records[-1].stamp
        fleet_log.append([LogRecord(r.frame_id, convert.record_message(r).SerializeToString()) for r in records], now=now)
        assignment = Assignment(0.0, frozenset(), seed)
        consumer = Consumer(fleet_log, store, scorer, assignment, lambda: now, Uncounted(), PACE)
        rng = np.random.default_rng(seed)
        rescorer = Rescorer(store, scorer, query, lambda: now, lambda _, __: None, PACE, rng)

        async def settle() -> None:
            while await consumer.step():
                pass
            while await rescorer.step():
                pass

        asyncio.run(settle())
        tasks = store.leases.lease(ACTIVE_QUEUE, holder="bench", max_tasks=TASKS, duration=timedelta(hours=1), now=now)
        return [task.frame_id for task in tasks]


def kitti_drives(root: Path) -> Drives:
    """Return the real drives; raises InvalidArgument, named by file and line, where their labels are missing or torn."""
    dataset = KittiFolder(root)
    records, tracks = [], {}
    for drive_id, file in TRACKED.items():
        shown = _tracks(root / "tracking_labels" / file, drive_id)
        for entry in dataset.frames():
            if entry.drive_id == drive_id:
                frame = dataset.read(entry.frame_id)
                records.append(frame_record(frame, label_proposals(frame, seed=0)))
                tracks[entry.frame_id] = frozenset(shown.get(entry.raw_frame, ()))
    return Drives(records, tracks)


def _tracks(path: Path, drive_id: str) -> dict[int, set[str]]:
    """Return the objects by raw frame, from a file of KITTI's tracking labels: frame, id, class, ... in each line."""
    shown: dict[int, set[str]] = {}
    for number, line in enumerate(read_lines(path, path.name), start=1):
        fields = line.split()
        if len(fields) < 3 or not fields[0].isdigit():
            raise InvalidArgument.of(f"{path.name}:{number}", line[:80], "frame, id and class")
        if fields[2] != "DontCare":
            shown.setdefault(int(fields[0]), set()).add(f"{drive_id}/{fields[1]}")
    return shown


def simulated_drives(folder: Path, told: Told) -> Drives:
    """Return simulated drives, whose clouds are written to the folder."""
    records, tracks = [], {}
    calibration = camera_calibration()
    for drive in range(SIMULATED.drives):
        for number, frame in enumerate(drive_frames(SIMULATED, drive)):
            told(
                "simulating drives", drive * SIMULATED.frames_per_drive + number, SIMULATED.drives * SIMULATED.frames_per_drive
            )
            frame_id, drive_id = f"{drive:03d}{number:03d}", f"drive-{drive}"
            cloud = folder / f"{frame_id}.bin"
            frame.points.tofile(cloud)
            records.append(
                FrameRecord(
                    frame_id,
                    drive_id,
                    START + timedelta(hours=drive, seconds=frame.time_s),
                    cloud.as_uri(),
                    calibration,
                    frame.proposals,
                    ego_pose=frame.pose.as_ego_pose(),
                )
            )
            tracks[frame_id] = frozenset(f"{drive_id}/{owner}" for owner in frame.owners)
    return Drives(records, tracks)


def _rounded(shares: Sequence[float]) -> list[float]:
    return [round(share, 3) for share in shares]
