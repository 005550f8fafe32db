"""What closes a street off on either side: rows of buildings, houses in gardens, or open land."""

import numpy as np

from quandary_server.simulator.bodies import Body, clutter
from quandary_server.simulator.furniture import BORDER, PLANTS, one_of
from quandary_server.simulator.kinds import StreetKind
from quandary_server.simulator.materials import Material
from quandary_server.simulator.meshes import Mesh, block, joined
from quandary_server.simulator.path import StreetPath
from quandary_server.simulator.placing import Placed, place
from quandary_server.simulator.profile import Side

FLOOR_M = 3.1
MODELLED_FLOORS = 3  # the beams rise by two degrees only


def fronts(
    kind: StreetKind, side: Side, path: StreetPath, junctions: tuple[float, ...], rng: np.random.Generator
) -> list[Placed]:
    """Return the fronts of one side, with gaps at junctions (s in metres)."""
    make = {"buildings": _terrace, "houses": _house_and_garden, "open": _open_land}[kind.front]
    placed: list[Placed] = []
    s = float(path.s_m[0])
    while s < path.end_m:
        length = rng.uniform(8.0, 22.0)
        if all(abs(s + length / 2 - junction) > length / 2 + 7.0 for junction in junctions):
            placed += make(side, path, s, length, rng)
        placed.append(_facing(_building(length, rng), side, path, s + length / 2, side.front_m + rng.uniform(22.0, 40.0)))
        s += length + (rng.uniform(0.0, 6.0) if rng.random() < 0.2 else 0.0)
    return placed + _ends(side, path, rng)


def _ends(side: Side, path: StreetPath, rng: np.random.Generator) -> list[Placed]:
    """Return trees and buildings across the street's far end, as where it turns off."""
    ends = []
    for d in np.arange(0.0, 40.0, 8.0):
        s = path.end_m - rng.uniform(2.0, 12.0)
        ends.append(place(_building(9.0, rng), path, s, side.d(d), -np.pi / 2))
        ends.append(place(one_of(PLANTS, rng), path, s - 2.0, side.d(d)))
    return ends


def _terrace(side: Side, path: StreetPath, s: float, length: float, rng: np.random.Generator) -> list[Placed]:
    setback = rng.uniform(0.0, 0.8)
    return [_facing(_building(length, rng), side, path, s + length / 2, side.front_m + setback)]


def _house_and_garden(side: Side, path: StreetPath, s: float, length: float, rng: np.random.Generator) -> list[Placed]:
    placed = []
    border = s
    while border < s + length - 3.0:
        body = one_of(BORDER, rng)
        if rng.random() < 0.85:
            placed.append(_facing(body, side, path, border + body.extents_m[0] / 2, side.front_m + 0.3))
        border += body.extents_m[0] + rng.uniform(0.0, 1.5)
    for _ in range(rng.integers(2, 7)):
        plant = one_of(PLANTS, rng)
        placed.append(_facing(plant, side, path, rng.uniform(s, s + length), side.front_m + rng.uniform(1.0, 4.0)))
    width = length * rng.uniform(0.6, 0.95)
    placed.append(_facing(_building(width, rng), side, path, s + length / 2, side.front_m + rng.uniform(1.0, 5.0)))
    return placed


def _open_land(side: Side, path: StreetPath, s: float, length: float, rng: np.random.Generator) -> list[Placed]:
    placed = [
        _facing(one_of(PLANTS, rng), side, path, rng.uniform(s, s + length), side.front_m + rng.exponential(6.0))
        for _ in range(rng.integers(4, 13))
    ]
    closed_off = rng.random()
    if closed_off < 0.35:
        placed.append(_facing(one_of(BORDER, rng), side, path, s + length / 2, side.front_m + rng.uniform(0.0, 6.0)))
    elif closed_off < 0.65:
        placed.append(_facing(_building(length, rng), side, path, s + length / 2, side.front_m + rng.uniform(6.0, 20.0)))
    elif closed_off < 0.85:
        placed.append(_facing(_crash_barrier(length, rng), side, path, s + length / 2, side.pavement_end_m + 0.4))
    return placed


def _crash_barrier(length: float, rng: np.random.Generator) -> Body:
    rail = block([-length / 2, -0.04, 0.5], [length / 2, 0.04, 0.8], Material.STEEL)
    feet = [
        block([x - 0.05, -0.1, 0.0], [x + 0.05, 0.04, 0.7], Material.STEEL) for x in np.arange(-length / 2, length / 2, 2.0)
    ]
    return clutter(joined([rail, *feet]), rng)


def _facing(body: Body, side: Side, path: StreetPath, s: float, distance_m: float) -> Placed:
    """Place a body so that its +y side looks away from the street."""
    return place(body, path, s, side.d(distance_m), 0.0 if side.sign > 0 else np.pi)


def _building(length: float, rng: np.random.Generator) -> Body:
    """Return a building whose street face lies in the plane y = 0, with windows, doors, pipes and now and then a balcony."""
    height, depth = FLOOR_M * rng.integers(2, 6), rng.uniform(8.0, 14.0)
    material = Material.PLASTER if rng.random() < 0.6 else Material.BRICK
    half = length / 2
    parts: list[Mesh] = [block([-half, 0.0, 0.0], [half, depth, height], material)]
    spacing = rng.uniform(2.2, 3.6)
    columns = np.arange(-half + spacing / 2, half - 0.6, spacing)
    for x in columns:
        for floor in range(min(MODELLED_FLOORS, int(height / FLOOR_M))):
            low = floor * FLOOR_M + (0.9 if floor or rng.random() < 0.75 else 0.05)
            parts.append(block([x - 0.55, -0.015, low], [x + 0.55, 0.0, floor * FLOOR_M + 2.3], Material.PANE))
            if rng.random() < 0.5:
                parts.append(block([x - 0.65, -0.12, low - 0.1], [x + 0.65, 0.0, low], material))
            if floor and rng.random() < 0.12:
                parts.append(block([x - 1.1, -1.1, low - 0.8], [x + 1.1, 0.0, low + 0.1], Material.STEEL))
    if rng.random() < 0.6:
        parts.append(block([half - 0.2, -0.12, 0.0], [half - 0.08, 0.0, height], Material.STEEL))
    if rng.random() < 0.4:
        step = rng.uniform(-half * 0.6, half * 0.6)
        parts.append(block([step - 0.8, -0.9, 0.0], [step + 0.8, 0.0, rng.uniform(0.15, 0.5)], Material.PAVING))
    return clutter(joined(parts), rng)
