"""One drive: a street, all that stands and moves in it, and what the sensors of the car see frame by frame."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from quandary.frames import Proposal
from quandary.geometry import Calibration
from quandary_server.datasets.labels import LabelFile
from quandary_server.simulator.camera import camera_calibration
from quandary_server.simulator.detector2d import detections
from quandary_server.simulator.ego import EgoMotion, Pose, ego_motion
from quandary_server.simulator.ground import ground
from quandary_server.simulator.kinds import STREET_KINDS, StreetKind
from quandary_server.simulator.layout import standing
from quandary_server.simulator.oracle import oracle_labels
from quandary_server.simulator.path import winding_path
from quandary_server.simulator.placing import Placed
from quandary_server.simulator.profile import sides_of
from quandary_server.simulator.sensor import beam_directions, sweep
from quandary_server.simulator.settings import FleetSettings
from quandary_server.simulator.sights import sights
from quandary_server.simulator.solids import Solids, cast_at
from quandary_server.simulator.traffic import Actor, traffic

AHEAD_M = 110.0
CLUTTER_AHEAD_M = 60.0
EGO_CLEARANCE_M = 3.0


@dataclass(frozen=True, eq=False)
class World:
    """A street for the length of a drive. Owners are numbered: first what stands, then the actors.

    positions (n, 3), reach and limit (n,): of what stands, where it is, its half length, and up to where it is looked at.
    strictness (owners, 2): of the oracle towards each.
    """

    kind: StreetKind
    standing: tuple[Placed, ...]
    positions: NDArray[np.float64]
    reach_m: NDArray[np.float64]
    limit_m: NDArray[np.float64]
    solids: Solids
    actors: tuple[Actor, ...]
    ego: EgoMotion
    strictness: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class SimulatedFrame:
    """One frame: when (seconds into the drive), the LiDAR's pose, the cloud float32 (N, 4), labels and proposals.

    owners: the object behind each label, the same all along the drive.
    """

    time_s: float
    pose: Pose
    points: NDArray[np.float32]
    content: LabelFile
    proposals: tuple[Proposal, ...]
    owners: tuple[int, ...]


def drive_frames(settings: FleetSettings, drive: int) -> Iterator[SimulatedFrame]:
    """Yield the frames of one drive, numbered from 0; they depend on nothing but the settings and the number."""
    calibration = camera_calibration()
    directions = beam_directions(calibration)
    world = build_world(settings, drive)
    for frame in range(settings.frames_per_drive):
        rng = np.random.default_rng([settings.seed, drive, 1 + frame])
        time_s = frame * settings.sweeps_between_frames / 10
        yield _observed(world, time_s, calibration, directions, rng)


def build_world(settings: FleetSettings, drive: int) -> World:
    """Return the street of a drive: the kinds come in turn within each split, everything else is drawn."""
    rng = np.random.default_rng([settings.seed, drive, 0])
    kind = STREET_KINDS[settings.place(drive)[1] % len(STREET_KINDS)]
    sides = sides_of(kind)
    duration_s = settings.frames_per_drive * settings.sweeps_between_frames / 10
    path = winding_path(kind.speed_m_s * 1.35 * duration_s + AHEAD_M, kind.bend_rad, rng)
    ego = ego_motion(path, sides[1].d(sides[1].lanes[0]), kind.speed_m_s, duration_s, rng)
    placed = tuple(standing(kind, sides, path, rng))
    actors = tuple(traffic(kind, sides, ego, duration_s, rng))
    return World(
        kind=kind,
        standing=placed,
        positions=np.array([each.position for each in placed]),
        reach_m=np.array([each.body.extents_m[0] / 2 for each in placed]),
        limit_m=np.array([_limit_m(each) for each in placed]),
        solids=Solids([*enumerate(placed)], ground(kind, sides, path, rng)),
        actors=actors,
        ego=ego,
        strictness=rng.normal(size=(len(placed) + len(actors), 2)),
    )


def _limit_m(placed: Placed) -> float:
    if placed.body.class_name:
        return AHEAD_M
    return CLUTTER_AHEAD_M if placed.body.lookalike else 0.0


def _observed(
    world: World, time_s: float, calibration: Calibration, directions: NDArray[np.float64], rng: np.random.Generator
) -> SimulatedFrame:
    pose = world.ego.pose(time_s)
    moving = _moving(world, time_s, pose)

    solids = (world.solids, Solids(moving))
    hits = cast_at(solids, pose.position, pose.from_lidar(directions))
    points, owners = sweep(hits, directions, calibration, rng)

    seen = sights([*_standing(world, pose), *moving], pose, calibration, solids)
    counts = np.bincount(owners[owners >= 0], minlength=len(world.strictness))
    labelled = oracle_labels(seen, counts, world.strictness)
    proposals = detections(seen, frozenset(labelled.owners), calibration, rng)
    return SimulatedFrame(time_s, pose, points, labelled.content, tuple(proposals), labelled.owners)


def _standing(world: World, pose: Pose) -> list[tuple[int, Placed]]:
    """Return what stands ahead and may be labelled or taken for something, by owner."""
    near = _ahead(pose.to_lidar(world.positions), world.reach_m, world.limit_m)
    return [(int(i), world.standing[i]) for i in np.flatnonzero(near)]


def _moving(world: World, time_s: float, pose: Pose) -> list[tuple[int, Placed]]:
    """Return the actors ahead, by owner; whoever would stand in the ego's place is left out."""
    here = world.ego.s_at(time_s)
    near = [(i, actor) for i, actor in enumerate(world.actors) if abs(actor.s_m(time_s) - here) < AHEAD_M]
    found = [(len(world.standing) + i, actor.at(world.ego.path, time_s)) for i, actor in near]
    placed = [(owner, actor) for owner, actor in found if actor is not None]
    if not placed:
        return []
    reach = np.array([actor.body.extents_m[0] / 2 for _, actor in placed])
    offsets = pose.to_lidar(np.array([actor.position for _, actor in placed]))
    kept = _ahead(offsets, reach, np.full(len(placed), AHEAD_M))
    kept &= np.hypot(offsets[:, 0], offsets[:, 1]) > EGO_CLEARANCE_M + reach
    return [each for each, keep in zip(placed, kept.tolist(), strict=True) if keep]


def _ahead(offsets: NDArray[np.float64], reach_m: NDArray[np.float64], limit_m: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return which positions (n, 3) in the LiDAR frame lie in the wedge of 45 degrees to either side, give or take reach."""
    x, y = offsets[:, 0], offsets[:, 1]
    return np.asarray((x > -reach_m) & (np.abs(y) < x + 2 * reach_m + 3.0) & (np.hypot(x, y) < limit_m))
