"""Drives as wholes: what moves in them, and whether they look like KITTI in figures."""

from dataclasses import replace

import numpy as np
import pytest

from quandary.labels import LABEL_CLASSES, FrameLabels
from quandary_server.datasets.matching import match_labels
from quandary_server.datasets.statistics import FolderStatistics, LabelledFrame, folder_statistics
from quandary_server.simulator import FleetSettings
from quandary_server.simulator.camera import camera_calibration
from quandary_server.simulator.drive import SimulatedFrame, build_world, drive_frames
from quandary_server.simulator.kinds import STREET_KINDS
from quandary_server.simulator.people import Rider, Walker

MAX_SPEED_M_S = 25.0
SETTINGS = FleetSettings(pool_drives=len(STREET_KINDS), control_drives=0, evaluation_drives=0, frames_per_drive=10, seed=3)


def test_drives_differ_from_each_other_and_by_seed() -> None:
    short = replace(SETTINGS, frames_per_drive=1)
    clouds = {next(drive_frames(short, drive)).points.tobytes() for drive in range(3)}
    clouds.add(next(drive_frames(replace(short, seed=4), 0)).points.tobytes())
    assert len(clouds) == 4


def test_the_drives_of_each_split_take_the_kinds_of_street_in_turn() -> None:
    settings = FleetSettings(2, 1, 1, frames_per_drive=1)
    worlds = [build_world(settings, drive) for drive in range(settings.drives)]
    assert [world.kind for world in worlds] == [*STREET_KINDS[:2], STREET_KINDS[0], STREET_KINDS[0]]
    assert len({world.ego.path.x_m.tobytes() for world in worlds}) == settings.drives


def test_actors_face_the_way_they_go_and_do_not_jump() -> None:
    moved = 0
    for drive in range(len(STREET_KINDS)):
        world = build_world(replace(SETTINGS, frames_per_drive=2), drive)
        for actor in world.actors:
            before, after = (actor.at(world.ego.path, time_s) for time_s in (1.0, 1.5))
            if before is None or after is None:
                continue
            step = after.position - before.position
            along = step[0] * np.cos(before.yaw_rad) + step[1] * np.sin(before.yaw_rad)
            assert np.linalg.norm(step) < 0.5 * MAX_SPEED_M_S
            # Whoever keeps the pace of a waiting ego may roll back a little; nobody drives backwards.
            assert along > -0.5
            if np.linalg.norm(step) > 0.6:
                assert along > 0.5 * np.linalg.norm(step)
                moved += 1
    assert moved > 50


def test_what_stands_still_stays_and_what_is_labelled_persists() -> None:
    frames = list(drive_frames(replace(SETTINGS, frames_per_drive=4, frame_interval_s=0.1), 2))
    world = build_world(replace(SETTINGS, frames_per_drive=4, frame_interval_s=0.1), 2)
    parked = np.array([placed.position for placed in world.standing if placed.body.class_name == "Car"])
    found = 0
    for frame in frames:
        for label in frame.content.labels:
            place = frame.pose.from_lidar(label.box.centre - np.array([0, 0, label.box.height_m / 2])) + frame.pose.position
            found += bool((np.linalg.norm(parked - place, axis=1) < 0.01).any())
    assert found >= 8


def test_people_walk() -> None:
    world = build_world(SETTINGS, 1)
    assert any(isinstance(actor.body, Walker) for actor in world.actors)
    assert any(isinstance(actor.body, Rider) for actor in world.actors)


@pytest.fixture(scope="module")
def frames() -> list[SimulatedFrame]:
    """Frames 2.5 s apart of three drives of each kind of street."""
    settings = FleetSettings(18, 0, 0, frames_per_drive=5, frame_interval_s=2.5, seed=11)
    return [frame for drive in range(18) for frame in drive_frames(settings, drive)]


def statistics(frames: list[SimulatedFrame]) -> FolderStatistics:
    calibration, looked_at = camera_calibration(), []
    for frame in frames:
        labels = FrameLabels("f", frame.content.labels, frame.content.ignored_regions)
        looked_at.append(LabelledFrame(frame.points, labels, match_labels(labels, frame.proposals, calibration)))
    return folder_statistics(looked_at)


def test_a_fleet_resembles_kitti_in_figures(frames: list[SimulatedFrame]) -> None:
    """KITTI's own figures stand beside each bound; the bounds are wide, since 90 frames are few."""
    figures = statistics(frames)
    assert 16_000 < figures.points_per_frame[2] < 22_000  # 20,400
    assert 4 < figures.labels_per_frame < 11  # 5.4
    assert figures.ignored_regions_per_frame < 6  # 1.5

    shares = {name: found.share for name, found in figures.classes.items()}
    assert set(shares) <= set(LABEL_CLASSES)
    assert 0.55 < shares["Car"] < 0.82  # 0.708
    assert 0.05 < shares["Pedestrian"] < 0.20  # 0.111
    assert 0.03 < shares["Van"] < 0.14  # 0.072
    assert 0.015 < shares["Cyclist"] < 0.09  # 0.040
    assert sum(shares.get(name, 0.0) for name in ("Truck", "Misc", "Tram", "Person_sitting")) < 0.15  # 0.069

    cars, walkers = figures.classes["Car"], figures.classes["Pedestrian"]
    assert 20 < cars.distance_m[2] < 35  # 26.7
    assert cars.distance_m[4] < 65  # 52.6
    assert 12 < walkers.distance_m[2] < 24  # 15.6
    assert 40 < cars.points[2] < 160  # 80
    assert cars.points[0] < 25  # 8
    assert cars.points[4] > 300  # 771
    assert 35 < walkers.points[2] < 160  # 89
    assert cars.without_points_share < 0.05  # 0.019
    assert 0.35 < cars.occlusion_shares[0] < 0.7  # 0.47

    assert 0.7 < figures.found_labels_share < 0.98  # 0.87 of published detections
    assert 0.08 < figures.background_share < 0.4
