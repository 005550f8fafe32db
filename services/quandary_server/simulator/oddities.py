"""Vehicles of no class of their own, KITTI's Misc: trailers, caravans, handcarts and diggers."""

import numpy as np

from quandary_server.simulator.bodies import Body, drawn_shades
from quandary_server.simulator.materials import Material
from quandary_server.simulator.meshes import Mesh, block, joined, rods
from quandary_server.simulator.shells import CAB, shell, tail_marks, wheels

Sized = tuple[Mesh, tuple[float, float, float]]


def misc(rng: np.random.Generator) -> Body:
    """Return what fits no other class: trailer, caravan, handcart or digger."""
    kind = rng.choice(4, p=(0.4, 0.25, 0.15, 0.2))
    make = (_trailer, _caravan, _handcart, _digger)[kind]
    mesh, extents = make(rng)
    return Body(mesh, extents, "Misc", drawn_shades(rng))


def _trailer(rng: np.random.Generator) -> Sized:
    length, width, height = rng.uniform(2.4, 4.2), rng.uniform(1.3, 1.9), rng.uniform(0.9, 2.0)
    tail, bed = -length / 2, length / 2 - 0.9
    parts = [
        block([tail, -width / 2, 0.5], [bed, width / 2, height], Material.PAINT if height > 1.3 else Material.STEEL),
        rods([[bed, -width / 3, 0.5], [bed, width / 3, 0.5]], [[length / 2, 0, 0.5]] * 2, 0.05, Material.STEEL),
        wheels([(tail + bed) / 2], width, 0.3),
        *tail_marks(tail, width, 0.55),
    ]
    return joined(parts), (length, width, height)


def _caravan(rng: np.random.Generator) -> Sized:
    length, width, height = rng.uniform(5.0, 6.8), rng.uniform(2.1, 2.35), rng.uniform(2.4, 2.7)
    stations = (
        (0.0, 0.7, False),
        (0.02, 0.97, False),
        (0.3, 1.0, True),
        (0.55, 1.0, False),
        (0.8, 0.95, False),
        (0.83, 0.6, False),
    )
    hitch = [[0.33 * length, 0, 0.45]]
    parts = [
        shell(length, width, height, stations, belt=0.5, floor_m=0.4),
        rods(hitch, [[length / 2, 0, 0.45]], 0.06, Material.STEEL),
        wheels([-0.05 * length], width, 0.33),
        *tail_marks(-length / 2, width, 0.6),
    ]
    return joined(parts), (length, width, height)


def _handcart(rng: np.random.Generator) -> Sized:
    length, width, height = rng.uniform(1.2, 1.9), rng.uniform(0.6, 0.9), rng.uniform(1.0, 1.5)
    box = block([-length / 2, -width / 2, 0.3], [length / 4, width / 2, height * 0.8], Material.WOOD)
    ends = [[length / 2, -width / 3, height], [length / 2, width / 3, height]]
    handles = rods([[length / 4, -width / 3, 0.5], [length / 4, width / 3, 0.5]], ends, 0.03, Material.STEEL)
    return joined([box, handles, wheels([-length / 4, length / 8], width, 0.2)]), (length, width, height)


def _digger(rng: np.random.Generator) -> Sized:
    length, width, height = rng.uniform(4.0, 6.0), rng.uniform(1.6, 2.3), rng.uniform(2.3, 2.9)
    cabin = shell(length * 0.32, width * 0.6, height - 0.7, CAB, belt=0.45, floor_m=0.1).moved(-0.05 * length, 0.0, 0.7)
    body = block([-length / 2, -width * 0.42, 0.6], [-0.1 * length, width * 0.42, height * 0.62], Material.PAINT)
    bonnet = block([-0.1 * length, -width * 0.4, 0.55], [0.2 * length, width * 0.4, 0.95], Material.PAINT)
    elbow = [0.3 * length, 0.0, height * 0.9]
    arm = rods([[0.1 * length, 0, 0.9], elbow], [elbow, [0.44 * length, 0, 0.5]], 0.13, Material.PAINT)
    shovel = block([0.4 * length, -width * 0.4, 0.15], [length / 2, width * 0.4, 0.7], Material.STEEL)
    return joined([cabin, body, bonnet, arm, shovel, wheels([-0.32 * length, 0.12 * length], width, 0.5)]), (
        length,
        width,
        height,
    )
