import numpy as np
import pytest

from quandary_server.simulator.materials import Material
from quandary_server.simulator.meshes import Mesh, ball, block, joined, leaves, lofted, rods, sheet


def area_m2(mesh: Mesh) -> float:
    a, b, c = (mesh.triangles[:, corner].astype(np.float64) for corner in range(3))
    return float(np.linalg.norm(np.cross(b - a, c - a), axis=1).sum() / 2)


def test_a_block_has_six_faces_between_its_corners() -> None:
    mesh = block([1, 2, 0], [3, 5, 4], Material.WOOD)
    assert area_m2(mesh) == pytest.approx(2 * (2 * 3 + 3 * 4 + 2 * 4))
    np.testing.assert_allclose(mesh.triangles.reshape(-1, 3).min(axis=0), [1, 2, 0])
    np.testing.assert_allclose(mesh.triangles.reshape(-1, 3).max(axis=0), [3, 5, 4])
    assert set(mesh.materials) == {Material.WOOD}


def test_a_ball_has_the_semi_axes_asked_for() -> None:
    corners = ball([1, 0, 2], [0.5, 1.0, 2.0], Material.SKIN).triangles.reshape(-1, 3) - [1, 0, 2]
    np.testing.assert_allclose(np.linalg.norm(corners / [0.5, 1.0, 2.0], axis=1), 1.0, rtol=1e-5)


@pytest.mark.parametrize("end", [[0.0, 0.0, 2.0], [3.0, 0.0, 0.0], [1.0, -2.0, 0.5], [0.0, 0.0, -1.0]])
def test_a_rod_keeps_its_radius_from_end_to_end(end: list[float]) -> None:
    corners = rods([[0, 0, 0]], [end], 0.2, Material.STEEL).triangles.reshape(-1, 3).astype(np.float64)
    axis = np.array(end) / np.linalg.norm(end)
    along = corners @ axis
    across = np.linalg.norm(corners - along[:, None] * axis, axis=1)
    assert (along.min(), along.max()) == pytest.approx((0.0, np.linalg.norm(end)), abs=1e-5)
    assert across.max() == pytest.approx(0.2, rel=1e-5)


def test_a_loft_through_two_squares_is_a_closed_box() -> None:
    square = np.array([[0, 0, 0], [0, 1, 0], [0, 1, 1], [0, 0, 1]], float)
    mesh = lofted(np.stack([square, square + np.array([3, 0, 0])]), np.full((1, 4), Material.PAINT))
    assert area_m2(mesh) == pytest.approx(4 * 3 + 2 * 1)


def test_the_faces_of_a_loft_have_the_materials_given() -> None:
    square = np.array([[0, 0, 0], [0, 1, 0], [0, 1, 1], [0, 0, 1]], float)
    kinds = np.array([[Material.PAINT, Material.GLASS, Material.PAINT, Material.PAINT]])
    mesh = lofted(np.stack([square, square + np.array([3, 0, 0])]), kinds)
    (glass,) = np.unique(mesh.triangles[mesh.materials == Material.GLASS].reshape(-1, 3)[:, 1])
    assert glass == 1.0


def test_the_strips_of_a_sheet_have_the_materials_given() -> None:
    x, y = np.meshgrid(np.arange(4.0), np.arange(3.0), indexing="ij")
    mesh = sheet(np.stack([x, y, 0 * x], axis=-1), [Material.ROAD, Material.GRASS])
    assert area_m2(mesh) == pytest.approx(6.0)
    assert mesh.triangles[mesh.materials == Material.ROAD][..., 1].max() == 1.0
    assert mesh.triangles[mesh.materials == Material.GRASS][..., 1].min() == 1.0


def test_leaves_stay_about_their_place_and_over_the_ground() -> None:
    mesh = leaves(np.random.default_rng(0), [0, 0, 1.0], [2.0, 1.0, 1.0], 200, 0.2)
    assert len(mesh.triangles) == 200
    assert np.abs(mesh.triangles.mean(axis=1)).max(axis=0) == pytest.approx([2.0, 1.0, 2.0], abs=0.4)


def test_moving_turns_first_and_then_shifts() -> None:
    mesh = block([0, 0, 0], [2, 1, 1], Material.WOOD).moved(10, 20, 5, np.pi / 2)
    corners = mesh.triangles.reshape(-1, 3)
    np.testing.assert_allclose(corners.min(axis=0), [9, 20, 5], atol=1e-5)
    np.testing.assert_allclose(corners.max(axis=0), [10, 22, 6], atol=1e-5)


def test_joining_keeps_order_and_nothing_joins_to_nothing() -> None:
    wood, steel = (block([0, 0, 0], [1, 1, 1], material) for material in (Material.WOOD, Material.STEEL))
    assert joined([wood, steel]).materials.tolist() == [Material.WOOD] * 12 + [Material.STEEL] * 12
    assert len(joined([]).triangles) == 0


def test_the_box_of_a_mesh_is_centred_on_its_origin() -> None:
    assert block([-1, 0, 0], [3, 0.5, 2], Material.WOOD).extents() == pytest.approx((6.0, 1.0, 2.0))
