"""What stands about in streets and is no object to label: the background that proposals fall on."""

from collections.abc import Callable

import numpy as np

from quandary_server.simulator.bodies import Body, clutter
from quandary_server.simulator.materials import Material
from quandary_server.simulator.meshes import Mesh, ball, block, joined, leaves, rods
from quandary_server.simulator.people import bicycle

Maker = Callable[[np.random.Generator], Body]


def lamp_post(rng: np.random.Generator) -> Body:
    """Return a lamp post, sometimes with a sign on it."""
    height, radius = rng.uniform(4.5, 8.0), rng.uniform(0.06, 0.11)
    parts = [rods([[0, 0, 0]], [[0, 0, height]], radius, Material.STEEL)]
    parts.append(rods([[0, 0, height]], [[0, 1.2, height + 0.1]], 0.05, Material.STEEL))
    if rng.random() < 0.3:
        parts.append(block([-0.02, -0.3, 2.2], [0.02, 0.3, 2.8], Material.REFLECTOR))
    return clutter(joined(parts), rng, "Pedestrian" if rng.random() < 0.3 else "")


def sign(rng: np.random.Generator) -> Body:
    """Return a traffic sign on its pole, facing along the street."""
    height, half = rng.uniform(2.0, 2.6), rng.uniform(0.25, 0.45)
    pole = rods([[0, 0, 0]], [[0, 0, height + half]], 0.03, Material.STEEL)
    plate = block([-0.07, -half, height - half], [-0.04, half, height + half], Material.REFLECTOR)
    return clutter(joined([pole, plate]), rng, "Pedestrian")


def tree(rng: np.random.Generator) -> Body:
    """Return a tree: trunk, a few boughs and a crown that some rays pass."""
    trunk_m, crown_m, radius = rng.uniform(1.2, 2.8), rng.uniform(1.2, 2.6), rng.uniform(0.1, 0.28)
    lean = rng.normal(0.0, 0.1, 2)
    fork = np.array([*lean, trunk_m])
    tips = fork + rng.normal(0.0, 1.0, (4, 3)) * [0.8, 0.8, 0.2] + [0, 0, 1.0]
    parts = [
        rods([[0, 0, 0]], [fork], radius, Material.BARK),
        rods(np.repeat(fork[None], 4, axis=0), tips, radius / 2, Material.BARK),
        leaves(rng, [*lean, trunk_m + 0.7 * crown_m], [crown_m, crown_m, 0.9 * crown_m], int(150 * crown_m), 0.5),
    ]
    return clutter(joined(parts), rng, "Pedestrian" if rng.random() < 0.2 else "")


def bush(rng: np.random.Generator) -> Body:
    """Return a bush of up to a car's size."""
    radii = rng.uniform([0.4, 0.4, 0.4], [1.6, 1.0, 1.0])
    parts = [leaves(rng, [0, 0, radii[2] * 0.9], radii, int(120 * radii[0] * radii[2] + 60), 0.25)]
    parts.append(ball([0, 0, radii[2] * 0.8], radii * 0.7, Material.LEAF))
    return clutter(joined(parts), rng, str(rng.choice(["Car", "Cyclist", "Pedestrian"])))


def hedge(rng: np.random.Generator) -> Body:
    """Return a stretch of hedge along the street."""
    length, depth, height = rng.uniform(2.5, 6.0), rng.uniform(0.5, 0.9), rng.uniform(0.8, 1.9)
    core = block([-length / 2, -depth / 3, 0], [length / 2, depth / 3, height - 0.1], Material.LEAF)
    spots = rng.uniform([-length / 2, -depth / 2, 0.1], [length / 2, depth / 2, height], (int(25 * length), 3))
    foliage = Mesh(
        (spots[:, None, :] + rng.normal(0, 0.1, (len(spots), 3, 3))).astype(np.float32),
        np.full(len(spots), Material.LEAF, np.uint8),
    )
    return clutter(joined([core, foliage]), rng, "Car")


def fence(rng: np.random.Generator) -> Body:
    """Return a panel of fence: boards or bars with gaps that rays pass."""
    length, height, gap = rng.uniform(3.0, 6.0), rng.uniform(0.9, 1.8), rng.uniform(0.12, 0.3)
    material = Material.WOOD if rng.random() < 0.5 else Material.STEEL
    half = 0.05 if material is Material.WOOD else 0.015
    bars = [block([x - half, -0.02, 0.05], [x + half, 0.02, height], material) for x in np.arange(-length / 2, length / 2, gap)]
    rails = [block([-length / 2, -0.03, z], [length / 2, 0.03, z + 0.06], material) for z in (0.2, height - 0.2)]
    return clutter(joined([*bars, *rails]), rng)


def wall(rng: np.random.Generator) -> Body:
    """Return a piece of garden wall with a pier."""
    length, height = rng.uniform(3.0, 7.0), rng.uniform(0.7, 2.0)
    piece = block([-length / 2, -0.12, 0], [length / 2, 0.12, height], Material.BRICK)
    pier = block([length / 2 - 0.4, -0.2, 0], [length / 2, 0.2, height + 0.2], Material.BRICK)
    return clutter(joined([piece, pier]), rng)


def kiosk(rng: np.random.Generator) -> Body:
    """Return a kiosk or market stall, of a van's size."""
    length, width, height = rng.uniform(2.0, 4.5), rng.uniform(1.6, 2.4), rng.uniform(2.2, 2.8)
    body = block([-length / 2, -width / 2, 0], [length / 2, width / 2, height - 0.15], Material.WOOD)
    roof = block(
        [-length / 2 - 0.3, -width / 2 - 0.5, height - 0.15], [length / 2 + 0.3, width / 2 + 0.3, height], Material.STEEL
    )
    window = block([-length / 3, -width / 2 - 0.02, 1.0], [length / 3, -width / 2, 1.8], Material.GLASS)
    return clutter(joined([body, roof, window]), rng, "Car")


def container(rng: np.random.Generator) -> Body:
    """Return a skip or a row of large bins, of a car's size."""
    length, width, height = rng.uniform(1.2, 4.0), rng.uniform(0.9, 1.9), rng.uniform(1.0, 1.7)
    body = block([-length / 2, -width / 2, 0.12], [length / 2, width / 2, height], Material.PAINT)
    lid = block([-length / 2, -width / 2 - 0.05, height], [length / 2, width / 2, height + 0.1], Material.RUBBER)
    return clutter(joined([body, lid]), rng, "Car")


def bin_(rng: np.random.Generator) -> Body:
    """Return a litter bin or a letter box."""
    height, radius = rng.uniform(0.9, 1.3), rng.uniform(0.2, 0.32)
    return clutter(rods([[0, 0, 0]], [[0, 0, height]], radius, Material.STEEL), rng, "Pedestrian")


def cabinet(rng: np.random.Generator) -> Body:
    """Return a switch cabinet or a ticket machine, of a person's height."""
    width, depth, height = rng.uniform(0.4, 1.2), rng.uniform(0.3, 0.5), rng.uniform(1.1, 1.9)
    return clutter(block([-width / 2, -depth / 2, 0], [width / 2, depth / 2, height], Material.PAINT), rng, "Pedestrian")


def column(rng: np.random.Generator) -> Body:
    """Return an advertising column."""
    radius, height = rng.uniform(0.5, 0.7), rng.uniform(2.6, 3.4)
    body = rods([[0, 0, 0]], [[0, 0, height]], radius, Material.PLASTER)
    return clutter(
        joined([body, rods([[0, 0, height]], [[0, 0, height + 0.2]], radius + 0.15, Material.STEEL)]), rng, "Pedestrian"
    )


def bollard(rng: np.random.Generator) -> Body:
    """Return a bollard."""
    return clutter(rods([[0, 0, 0]], [[0, 0, rng.uniform(0.6, 1.0)]], rng.uniform(0.06, 0.14), Material.STEEL), rng)


def shelter(rng: np.random.Generator) -> Body:
    """Return a bus shelter: panes, posts, a roof and a bench."""
    half = rng.uniform(1.6, 2.4)
    posts = np.array([[-half, 0.6, 0], [half, 0.6, 0], [-half, -0.6, 0], [half, -0.6, 0]])
    parts = [
        rods(posts, posts + np.array([0, 0, 2.4]), 0.05, Material.STEEL),
        block([-half, -0.8, 2.4], [half, 0.8, 2.5], Material.STEEL),
        block([-half, 0.6, 0.2], [half, 0.62, 2.2], Material.GLASS),
        block([-half * 0.7, 0.2, 0.42], [half * 0.7, 0.55, 0.48], Material.WOOD),
    ]
    return clutter(joined(parts), rng, "Car")


def bench(rng: np.random.Generator) -> Body:
    """Return a bench, facing ahead."""
    half = rng.uniform(0.7, 1.0)
    seat = block([-0.25, -half, 0.4], [0.25, half, 0.46], Material.WOOD)
    back = block([-0.3, -half, 0.5], [-0.25, half, 0.9], Material.WOOD)
    feet = [block([-0.25, y - 0.04, 0], [0.25, y + 0.04, 0.4], Material.STEEL) for y in (-half + 0.1, half - 0.1)]
    return clutter(joined([seat, back, *feet]), rng, "Cyclist")


def cafe_table(rng: np.random.Generator) -> Body:
    """Return a small round table."""
    top = rods([[0, 0, 0.7]], [[0, 0, 0.74]], rng.uniform(0.3, 0.45), Material.WOOD)
    return clutter(joined([top, rods([[0, 0, 0]], [[0, 0, 0.7]], 0.04, Material.STEEL)]), rng)


def bicycles(rng: np.random.Generator) -> Body:
    """Return bicycles in a stand, without riders."""
    count = int(rng.integers(1, 6))
    return clutter(joined([bicycle(1.75).moved(0.0, 0.6 * (i - count / 2), 0.0) for i in range(count)]), rng, "Cyclist")


def barrier(rng: np.random.Generator) -> Body:
    """Return a barrier around roadworks."""
    half = rng.uniform(0.8, 1.6)
    boards = [block([-0.03, -half, z], [0.03, half, z + 0.2], Material.REFLECTOR) for z in (0.4, 0.9)]
    feet = [block([-0.3, y - 0.1, 0], [0.3, y + 0.1, 0.12], Material.RUBBER) for y in (-half, half)]
    return clutter(joined([*boards, *feet]), rng, "Cyclist")


KERBSIDE: tuple[tuple[Maker, float], ...] = (
    (lamp_post, 4.0), (sign, 4.0), (tree, 3.0), (bin_, 2.0), (cabinet, 1.5), (bollard, 3.0), (bicycles, 1.5), (column, 0.6),
    (shelter, 0.5), (barrier, 0.5),
)  # fmt: skip
"""What stands by the kerb, with weights."""

FRONTSIDE: tuple[tuple[Maker, float], ...] = (
    (bush, 4.0), (container, 1.5), (cabinet, 1.5), (bicycles, 1.5), (bench, 1.5), (kiosk, 0.8), (tree, 1.0), (bin_, 1.0),
)  # fmt: skip
"""What stands before the fronts, with weights."""

PLANTS: tuple[tuple[Maker, float], ...] = ((bush, 3.0), (tree, 2.0))
"""What grows in gardens and on verges, with weights."""

BORDER: tuple[tuple[Maker, float], ...] = ((hedge, 4.0), (fence, 3.0), (wall, 3.0))
"""What runs along a plot's border, with weights."""


def one_of(choices: tuple[tuple[Maker, float], ...], rng: np.random.Generator) -> Body:
    """Return a body made by one of the makers, drawn by weight."""
    weights = np.array([weight for _, weight in choices])
    return choices[int(rng.choice(len(choices), p=weights / weights.sum()))][0](rng)
