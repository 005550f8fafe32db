import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quandary_server.simulator.ego import SENSOR_HEIGHT_M, Pose, ego_motion
from quandary_server.simulator.path import winding_path

angles = st.floats(-np.pi, np.pi)


def rotation_of(qw: float, qx: float, qy: float, qz: float) -> np.ndarray:
    return np.array([
        [1 - 2 * (qy * qy + qz * qz), 2 * (qx * qy - qz * qw), 2 * (qx * qz + qy * qw)],
        [2 * (qx * qy + qz * qw), 1 - 2 * (qx * qx + qz * qz), 2 * (qy * qz - qx * qw)],
        [2 * (qx * qz - qy * qw), 2 * (qy * qz + qx * qw), 1 - 2 * (qx * qx + qy * qy)],
    ])  # fmt: skip


def test_a_path_is_as_long_as_asked_and_its_offsets_are_square_to_it() -> None:
    path = winding_path(200.0, 0.6, np.random.default_rng(0))
    assert path.end_m == pytest.approx(259.0)
    steps = np.hypot(np.diff(path.x_m), np.diff(path.y_m))
    assert steps == pytest.approx(1.0)
    s = np.array([0.0, 50.0, 150.0])
    middle, heading = path.at(s, 0.0)
    left, _ = path.at(s, 3.0)
    offset = (left - middle)[:, :2]
    np.testing.assert_allclose(np.linalg.norm(offset, axis=1), 3.0)
    np.testing.assert_allclose(np.cos(heading) * offset[:, 0] + np.sin(heading) * offset[:, 1], 0.0, atol=1e-9)


def test_slopes_stay_gentle() -> None:
    for seed in range(10):
        path = winding_path(300.0, 0.6, np.random.default_rng(seed))
        assert np.abs(np.diff(path.z_m)).max() < 0.04


def test_the_ego_follows_its_lane_forwards_and_looks_where_it_goes() -> None:
    path = winding_path(400.0, 0.6, np.random.default_rng(1))
    ego = ego_motion(path, -1.6, 8.0, 30.0, np.random.default_rng(2))
    for time_s in np.arange(1.0, 29.0).tolist():
        pose, later = ego.pose(time_s), ego.pose(time_s + 0.2)
        on_lane, _ = path.at(ego.s_at(time_s), -1.6)
        assert np.linalg.norm((pose.position - on_lane)[:2]) < 0.3
        assert pose.position[2] - on_lane[2] == pytest.approx(SENSOR_HEIGHT_M, abs=1e-6)
        moved = pose.to_lidar(later.position)
        assert moved[0] >= 0
        assert abs(moved[1]) <= 0.1 * moved[0] + 0.02


def test_half_the_drives_wait_once() -> None:
    path = winding_path(600.0, 0.3, np.random.default_rng(1))
    speeds = [np.diff(ego_motion(path, -1.6, 8.0, 30.0, np.random.default_rng(seed)).s_m) for seed in range(40)]
    assert 10 < sum(bool((speed < 1e-3).any()) for speed in speeds) < 30


@given(yaw=angles, pitch=st.floats(-0.1, 0.1), roll=st.floats(-0.1, 0.1))
def test_the_logged_pose_is_the_pose(yaw: float, pitch: float, roll: float) -> None:
    about_z = rotation_of(np.cos(yaw / 2), 0, 0, np.sin(yaw / 2))
    about_y = rotation_of(np.cos(pitch / 2), 0, np.sin(pitch / 2), 0)
    about_x = rotation_of(np.cos(roll / 2), np.sin(roll / 2), 0, 0)
    pose = Pose(np.array([1.0, 2.0, 3.0]), about_z @ about_y @ about_x)
    logged = pose.as_ego_pose()
    assert (logged.x_m, logged.y_m, logged.z_m) == (1.0, 2.0, 3.0)
    np.testing.assert_allclose(rotation_of(logged.qw, logged.qx, logged.qy, logged.qz), pose.rotation, atol=1e-6)


@given(yaw=angles, x=st.floats(-50, 50), y=st.floats(-50, 50))
def test_to_the_lidar_and_back(yaw: float, x: float, y: float) -> None:
    pose = Pose(np.array([5.0, -3.0, 1.7]), rotation_of(np.cos(yaw / 2), 0, 0, np.sin(yaw / 2)))
    point = np.array([x, y, 0.5])
    np.testing.assert_allclose(pose.from_lidar(pose.to_lidar(point)) + pose.position, point, atol=1e-9)
    assert np.cos(pose.yaw_rad - yaw) == pytest.approx(1.0)
