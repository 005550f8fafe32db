import numpy as np
import pytest

from quandary_server.simulator.bodies import clutter
from quandary_server.simulator.materials import Material
from quandary_server.simulator.meshes import block
from quandary_server.simulator.placing import Placed
from quandary_server.simulator.solids import NOBODY, Solids, cast_at

ORIGIN = np.zeros(3)
AHEAD, ASIDE, SLANTED = np.array([[1.0, 0, 0], [0, 1.0, 0], [np.sqrt(0.75), 0.5, 0]])


def wall_at(x_m: float, material: Material = Material.PLASTER) -> Placed:
    body = clutter(block([0, -50, -5], [0.5, 50, 5], material), np.random.default_rng(0))
    return Placed(body, x_m, 0.0, 0.0, 0.0)


def test_a_ray_ends_at_the_first_body() -> None:
    hits = Solids([(3, wall_at(20)), (7, wall_at(10))]).cast(ORIGIN, np.stack([AHEAD, ASIDE, SLANTED]))
    assert hits.distance_m == pytest.approx([10.0, np.inf, 10 / np.sqrt(0.75)], rel=1e-5)
    assert hits.owner.tolist() == [7, NOBODY, 7]
    assert hits.cos_incidence[[0, 2]] == pytest.approx([1.0, np.sqrt(0.75)], rel=1e-5)
    assert hits.material[0] == Material.PLASTER


def test_of_several_solids_the_nearest_counts() -> None:
    standing, moving = Solids([(0, wall_at(20, Material.BRICK))]), Solids([(1, wall_at(12, Material.GLASS))])
    for order in ((standing, moving), (moving, standing)):
        hits = cast_at(order, ORIGIN, AHEAD[None])
        assert (hits.distance_m[0], hits.owner[0], hits.material[0]) == (pytest.approx(12.0), 1, Material.GLASS)


def test_the_ground_belongs_to_nobody() -> None:
    ground = block([-100, -100, -2], [100, 100, -1.73], Material.ROAD)
    hits = Solids([(0, wall_at(5))], ground).cast(ORIGIN, np.array([[0.0, 0.0, -1.0]]))
    assert (hits.distance_m[0], hits.owner[0]) == (pytest.approx(1.73), NOBODY)


def test_nothing_stops_no_ray() -> None:
    hits = cast_at((Solids([]), Solids([])), ORIGIN, np.stack([AHEAD, ASIDE]))
    assert np.isinf(hits.distance_m).all()
    assert (hits.owner == NOBODY).all()


def test_brightness_goes_with_the_body() -> None:
    bright, dark = Solids([(0, wall_at(5, Material.PLASTER))]), Solids([(0, wall_at(5, Material.RUBBER))])
    assert bright.cast(ORIGIN, AHEAD[None]).reflectivity[0] > 2 * dark.cast(ORIGIN, AHEAD[None]).reflectivity[0]
