import numpy as np
import pytest

from quandary_server.simulator.bodies import Body, clutter, drawn_shades
from quandary_server.simulator.camera import camera_calibration
from quandary_server.simulator.ego import Pose
from quandary_server.simulator.materials import Material
from quandary_server.simulator.meshes import block
from quandary_server.simulator.people import walker, walking
from quandary_server.simulator.placing import Placed
from quandary_server.simulator.sights import Sight, lidar_box, sights
from quandary_server.simulator.solids import Solids

CALIBRATION = camera_calibration()
POSE = Pose(np.array([0.0, 0.0, 1.73]), np.eye(3))
RNG = np.random.default_rng(0)


def crate(x_m: float, y_m: float, yaw_rad: float = 0.0) -> Placed:
    """A car-sized block that counts as a car."""
    mesh = block([-2, -0.8, 0], [2, 0.8, 1.5], Material.PAINT)
    return Placed(Body(mesh, (4.0, 1.6, 1.5), "Car", drawn_shades(RNG)), x_m, y_m, 0.0, yaw_rad)


def screen(x_m: float, right_m: float, left_m: float) -> Placed:
    """A wall across the view from y = right to left."""
    return Placed(clutter(block([0, right_m, 0], [0.1, left_m, 4], Material.BRICK), RNG), x_m, 0.0, 0.0, 0.0)


def seen(*placed: Placed) -> list[Sight]:
    bodies = list(enumerate(placed))
    return sights(bodies, POSE, CALIBRATION, (Solids(bodies),))


def test_an_object_in_the_open_is_wholly_visible_in_its_projected_box() -> None:
    (sight,) = seen(crate(20.0, 1.0, 0.4))
    assert (sight.class_name, sight.visible) == ("Car", 1.0)
    assert sight.truncation == pytest.approx(0.0, abs=1e-9)
    assert sight.box == lidar_box(crate(20.0, 1.0, 0.4), POSE)
    assert sight.image_box == CALIBRATION.project_box(sight.box)
    assert sight.distance_m == pytest.approx(np.hypot(20.0, 1.0))


def test_what_is_hidden_is_not_seen_and_half_is_half() -> None:
    behind = crate(20.0, 0.0, np.pi / 2)
    assert [sight.class_name for sight in seen(screen(10.0, -5, 5), behind)] == [""]
    car = next(sight for sight in seen(screen(10.0, 0, 5), behind) if sight.class_name)
    assert car.visible == pytest.approx(0.5, abs=0.12)


def test_what_stands_behind_hides_nothing() -> None:
    car = next(sight for sight in seen(crate(20.0, 0.0), screen(30.0, -5, 5)) if sight.class_name)
    assert car.visible == 1.0


def test_what_the_border_cuts_is_truncated_and_what_is_in_the_image_of_it_is_visible() -> None:
    (sight,) = seen(crate(10.0, 8.2, np.pi / 2))
    assert 0.2 < sight.truncation < 0.8
    assert sight.image_box.left_px == 0.0
    assert sight.visible == 1.0


@pytest.mark.parametrize(("x_m", "y_m"), [(-10.0, 0.0), (5.0, 20.0), (5.0, -20.0)])
def test_what_is_out_of_view_is_not_seen(x_m: float, y_m: float) -> None:
    assert seen(crate(x_m, y_m)) == []


def test_the_nearest_comes_first() -> None:
    assert [sight.owner for sight in seen(crate(30.0, 5.0), crate(12.0, 0.0), crate(20.0, -4.0))] == [1, 2, 0]


def test_boxes_are_given_in_the_lidar_frame_whatever_the_pose() -> None:
    cos, sin = np.cos(0.7), np.sin(0.7)
    turned = Pose(np.array([100.0, 50.0, 3.0]), np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]]))
    box = lidar_box(Placed(crate(0, 0).body, 100.0 + 10 * cos, 50.0 + 10 * sin, 1.0, 0.7 + 0.2), turned)
    np.testing.assert_allclose(box.centre, [10.0, 0.0, 1.0 + 0.75 - 3.0], atol=1e-9)
    assert box.yaw_rad == pytest.approx(0.2)


def test_people_are_boxed_as_they_are_seen_and_not_as_their_3d_box_projects() -> None:
    person = walking(walker(np.random.default_rng(2)), 0.0)
    (sight,) = seen(Placed(person, 12.0, 0.0, 0.0, 0.6))
    projected = CALIBRATION.project_box(sight.box)
    assert projected is not None
    assert sight.image_box.overlap_px(projected) == pytest.approx(sight.image_box.area_px, rel=0.02)
    assert 0.4 < sight.image_box.iou(projected) < 0.95
