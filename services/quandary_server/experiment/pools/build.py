"""Building pools, drive by drive on Ray; what was built before is taken from the cache."""

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import cache
from itertools import chain
from pathlib import Path

import numpy as np
import ray

from quandary import convert
from quandary.errors import InvalidArgument
from quandary.labels import FrameLabels
from quandary.records import FrameRecord
from quandary.v1 import fleet_log_pb2
from quandary_server.datasets.index import FrameEntry, write_index
from quandary_server.datasets.kitti import KittiFolder
from quandary_server.datasets.proposals import proposals_of
from quandary_server.datasets.records import frame_record
from quandary_server.experiment.pools.crops import SPLITS, Crops, Pool, read_pool, write_pool
from quandary_server.experiment.pools.digests import folder_digest
from quandary_server.experiment.pools.noise import noisy
from quandary_server.experiment.settings import FleetSource, FolderSource, PoolSettings, SnapshotSource
from quandary_server.experiment.source import CUTTING, SIMULATING, source_digest
from quandary_server.experiment.window import gathered
from quandary_server.simulator.fleet import simulate_drive
from quandary_server.simulator.settings import FleetSettings
from quandary_server.storage.snapshots import read_snapshot
from quandary_server.trainer.labelled import examples_of

KITTI_VARIABLE = "QUANDARY_KITTI"

Told = Callable[[str, int, int], None]
"""Told what is being built, how many drives are done, and how many there are."""


def built_pool(settings: PoolSettings, side: int, seed: int, folder: Path, told: Told) -> Pool:
    """Return the pool of crops of side x side cells, from the folder where it was built there before.

    Raises InvalidArgument where the pool or the evaluation holds no crop, and as pool_file does.
    """
    path = pool_file(settings, side, seed, folder)
    if not path.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        write_pool(path, _build(settings, side, seed, folder, told))
    pool = read_pool(path)
    for split in ("pool", "evaluation"):
        if not len(getattr(pool, split)):
            raise InvalidArgument.of(f"crops of split {split}", 0, f"at least one with proposals from {settings.proposals}")
    return pool


def pool_file(settings: PoolSettings, side: int, seed: int, folder: Path) -> Path:
    """Return where a pool is kept: settings, frames and code have their part in the name, so that none is taken for another.

    Raises InvalidArgument where there is no such KITTI folder or a file of it is missing, NotFound where there is no such
    snapshot.
    """
    source = settings.source
    if isinstance(source, FolderSource):
        frames = folder_digest(kitti_folder(source.path))
    elif isinstance(source, SnapshotSource):
        frames = read_snapshot(Path(source.path)).digest
    else:
        frames = source_digest(*SIMULATING)
    return folder / f"pool-{_key(settings.model_dump_json(), side, seed, frames, source_digest(*CUTTING))}.npz"


def kitti_folder(path: str) -> Path:
    """Return the folder named, else that of QUANDARY_KITTI; raises InvalidArgument where there is none."""
    name = path or os.environ.get(KITTI_VARIABLE, "")
    if not name or not Path(name).is_dir():
        raise InvalidArgument.of(
            "source.path", name or f"empty, and {KITTI_VARIABLE} is not set", "a folder in the KITTI layout"
        )
    return Path(name)


def _key(*parts: object) -> str:
    return hashlib.sha256(" ".join(map(str, parts)).encode()).hexdigest()[:16]


def _build(settings: PoolSettings, side: int, seed: int, folder: Path, told: Told) -> Pool:
    if isinstance(settings.source, SnapshotSource):
        return _of_snapshot(Path(settings.source.path), settings, side, seed)
    if isinstance(settings.source, FleetSource):
        root = _fleet(settings.source.fleet, folder, told)
    else:
        root = kitti_folder(settings.source.path)
    entries = KittiFolder(root).frames()
    drives = list(dict.fromkeys((entry.split, entry.drive_id) for entry in entries))
    tasks = [("cutting crops", _crops_of_drive.remote(root, split, drive, settings, side, seed)) for split, drive in drives]
    found: list[Crops] = gathered(tasks, lambda done, total, what: told(what, done, total))
    by_split = {split: Crops.joined([c for c, (own, _) in zip(found, drives, strict=True) if own == split]) for split in SPLITS}
    return _pool(by_split, settings)


def _pool(by_split: Mapping[str, Crops], settings: PoolSettings) -> Pool:
    evaluation = Crops.joined([by_split[split] for split in settings.evaluation])
    return Pool(by_split["pool"], by_split["control"], evaluation)


def _fleet(settings: FleetSettings, folder: Path, told: Told) -> Path:
    """Return the folder of a simulated fleet, simulated drive by drive where it is not there yet."""
    root = folder / f"fleet-{_key(json.dumps(asdict(settings)), source_digest(*SIMULATING))}"
    if root.is_dir():
        return root
    unfinished = root.with_suffix(".part")
    shutil.rmtree(unfinished, ignore_errors=True)
    tasks = [("simulating the fleet", _simulated.remote(unfinished, settings, drive)) for drive in range(settings.drives)]
    entries: list[list[FrameEntry]] = gathered(tasks, lambda done, total, what: told(what, done, total))
    write_index(unfinished, chain.from_iterable(entries))
    unfinished.replace(root)
    return root


@ray.remote(num_cpus=1)
def _simulated(folder: Path, settings: FleetSettings, drive: int) -> list[FrameEntry]:
    return simulate_drive(folder, settings, drive)


@cache
def _folder(root: Path) -> KittiFolder:
    return KittiFolder(root)


@ray.remote(num_cpus=1)
def _crops_of_drive(root: Path, split: str, drive: str, settings: PoolSettings, side: int, seed: int) -> Crops:
    folder = _folder(root)
    every = 1 if split == "pool" else settings.held_out_every
    entries = [entry for entry in folder.frames(split) if entry.drive_id == drive][::every]
    frames = [folder.read(entry.frame_id) for entry in entries]
    records = [frame_record(frame, proposals_of(frame, settings.proposals, seed)) for frame in frames]
    return _crops([(record, frame.labels) for record, frame in zip(records, frames, strict=True)], settings, side, seed)


def _of_snapshot(path: Path, settings: PoolSettings, side: int, seed: int) -> Pool:
    """Of the store's control drives the first is for evaluation, the second to calibrate on, and so on in turn.

    A drive with frames in both queues is a control drive: nets are never trained on a drive that judges them.
    """
    frames = read_snapshot(path).frames
    records = {f.frame_id: convert.record(fleet_log_pb2.FrameRecord.FromString(f.record)) for f in frames}
    held_out = sorted({f.drive_id for f in frames if f.control})
    drives = {
        "pool": {f.drive_id for f in frames}.difference(held_out),
        "control": set(held_out[1::2]),
        "evaluation": set(held_out[::2]),
    }
    by_split = {
        split: _crops([(records[f.frame_id], f.labels) for f in frames if f.drive_id in own], settings, side, seed)
        for split, own in drives.items()
    }
    return _pool(by_split, settings)


def _crops(frames: Sequence[tuple[FrameRecord, FrameLabels]], settings: PoolSettings, side: int, seed: int) -> Crops:
    """Return the crops of labelled frames, the proposals made worse as the settings say."""
    found = []
    for record, labels in frames:
        proposals = noisy(record.proposals, settings.noise, record.calibration, record.frame_id, seed)
        if not proposals:
            continue
        changed = FrameRecord(
            record.frame_id, record.drive_id, record.stamp, record.cloud_uri, record.calibration, tuple(proposals)
        )
        examples = examples_of(changed, labels, side)
        found.append(Crops(examples, np.full(len(examples), record.stamp.timestamp())))
    return Crops.joined(found)
