"""Where the crops of the studies come from: a detector is chosen on control drives, never on those of evaluation."""

import os
from pathlib import Path

from quandary_server.experiment.pools.build import KITTI_VARIABLE, kitti_folder
from quandary_server.experiment.settings import FleetSource, FolderSource, PoolSettings
from quandary_server.simulator.settings import FleetSettings

POOL_SEED = 0

WIDE_FLEET = FleetSettings(pool_drives=42, control_drives=12, evaluation_drives=0, frames_per_drive=10, seed=31)
"""Many drives with few frames each, a second apart; none of them is in a replay. Its six kinds of street are in balance."""

NARROW_SEED = 41


def narrow_fleet(seed: int) -> FleetSettings:
    """Return a fleet with the repeats of the real frames: 242 of three drives, nearly all a tenth of a second apart."""
    return FleetSettings(
        pool_drives=3,
        control_drives=1,
        evaluation_drives=0,
        frames_per_drive=80,
        frame_interval_s=0.1,
        seed=NARROW_SEED + seed,
    )


def simulated_pool(fleet: FleetSettings) -> PoolSettings:
    """Return the pool of a simulated fleet, judged on its control drives."""
    return PoolSettings(source=FleetSource(fleet=fleet), evaluation=("control",))


def real_pool(folder: Path) -> PoolSettings:
    """Return the pool of real frames, judged on their control drives."""
    return PoolSettings(source=FolderSource(path=str(folder)), evaluation=("control",))


def real_frames(given: Path | None) -> Path | None:
    """Return the folder given, else that of QUANDARY_KITTI, None where there is neither.

    Raises InvalidArgument for one that is not there.
    """
    if given is None and not os.environ.get(KITTI_VARIABLE):
        return None
    return kitti_folder(str(given or ""))
