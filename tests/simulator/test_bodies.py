"""Every body fits its box, stands on the ground, and the classes have KITTI's sizes."""

from collections.abc import Callable

import numpy as np
import pytest

from quandary_server.simulator import furniture
from quandary_server.simulator.bodies import SAMPLES, Body
from quandary_server.simulator.oddities import misc
from quandary_server.simulator.people import rider, riding, sitter, walker, walking
from quandary_server.simulator.vehicles import car, tram, truck, van

Maker = Callable[[np.random.Generator], Body]


def pedestrian(rng: np.random.Generator) -> Body:
    return walking(walker(rng), rng.uniform(0, 6))


def cyclist(rng: np.random.Generator) -> Body:
    return riding(rider(rng), rng.uniform(0, 6))


# Class and mean length, width and height of KITTI's 7,481 labelled frames; Tram and Misc vary too widely for a mean of few.
OBJECTS: list[tuple[Maker, str, tuple[float, float, float]]] = [
    (car, "Car", (3.88, 1.63, 1.53)),
    (van, "Van", (5.08, 1.90, 2.21)),
    (truck, "Truck", (10.11, 2.59, 3.25)),
    (pedestrian, "Pedestrian", (0.84, 0.66, 1.76)),
    (sitter, "Person_sitting", (0.80, 0.59, 1.27)),
    (cyclist, "Cyclist", (1.76, 0.60, 1.74)),
    (tram, "Tram", (16.09, 2.54, 3.53)),
    (misc, "Misc", (3.58, 1.51, 1.91)),
]
CLUTTER: list[Maker] = [maker for maker, _ in (*furniture.KERBSIDE, *furniture.FRONTSIDE, *furniture.BORDER)]


@pytest.mark.parametrize(("make", "class_name", "mean"), OBJECTS)
def test_objects_have_the_sizes_of_their_class(make: Maker, class_name: str, mean: tuple[float, float, float]) -> None:
    rng = np.random.default_rng(0)
    bodies = [make(rng) for _ in range(200)]
    assert {body.class_name for body in bodies} == {class_name}
    found = np.mean([body.extents_m for body in bodies], axis=0)
    np.testing.assert_allclose(found, mean, rtol=0.2 if class_name in ("Tram", "Misc") else 0.08)
    assert len({body.extents_m for body in bodies}) == 200


@pytest.mark.parametrize("make", [*(make for make, *_ in OBJECTS), *CLUTTER])
def test_the_surface_of_a_body_lies_in_its_box(make: Maker) -> None:
    rng = np.random.default_rng(1)
    for _ in range(20):
        body = make(rng)
        samples = body.samples
        assert samples.shape == (SAMPLES, 3)
        half = np.array([body.extents_m[0] / 2, body.extents_m[1] / 2, body.extents_m[2]])
        # A handlebar or an elbow may stick out a little, as from KITTI's boxes.
        outside = (np.abs(samples) > half * 1.05 + 0.05).any(axis=1) | (samples[:, 2] < -0.1)
        assert outside.mean() < 0.06
        assert samples[:, 2].max() > 0.7 * body.extents_m[2]


@pytest.mark.parametrize("make", CLUTTER)
def test_clutter_has_no_class(make: Maker) -> None:
    assert make(np.random.default_rng(0)).class_name == ""


def test_people_move_their_legs() -> None:
    person = walker(np.random.default_rng(3))
    apart, together = (walking(person, phase).mesh.extents()[0] for phase in (np.pi / 2, 0.0))
    assert apart > together + 0.1


def test_standing_people_do_not() -> None:
    person = walker(np.random.default_rng(3))
    first, second = (walking(person, phase, standing=True).mesh.triangles for phase in (0.3, 2.0))
    np.testing.assert_array_equal(first, second)


def test_the_same_draws_give_the_same_body() -> None:
    for make, *_ in OBJECTS:
        first, second = (make(np.random.default_rng(5)) for _ in range(2))
        assert first.mesh.triangles.tobytes() == second.mesh.triangles.tobytes()
        assert first.shades.tobytes() == second.shades.tobytes()
