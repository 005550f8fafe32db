"""Vehicles to label. Sizes follow KITTI's labels."""

import numpy as np

from quandary_server.simulator.bodies import Body, drawn_shades, drawn_size
from quandary_server.simulator.materials import Material
from quandary_server.simulator.meshes import Mesh, ball, block, joined, rods
from quandary_server.simulator.shells import CAB, Stations, shell, tail_marks, wheels

HATCHBACK: Stations = (
    (0.00, 0.46, False), (0.02, 0.62, False), (0.05, 0.66, True), (0.16, 0.94, False), (0.19, 0.97, True), (0.42, 1.00, False),
    (0.44, 1.00, True), (0.56, 0.98, True), (0.75, 0.63, False), (0.96, 0.53, False), (1.00, 0.36, False),
)  # fmt: skip
SALOON: Stations = (
    (0.00, 0.44, False), (0.02, 0.66, False), (0.17, 0.69, True), (0.31, 0.96, False), (0.33, 0.98, True), (0.45, 1.00, False),
    (0.47, 1.00, True), (0.57, 0.97, True), (0.73, 0.65, False), (0.96, 0.54, False), (1.00, 0.38, False),
)  # fmt: skip
ESTATE: Stations = (
    (0.00, 0.44, False), (0.01, 0.64, True), (0.08, 0.96, False), (0.10, 0.98, True), (0.28, 1.00, False), (0.30, 1.00, True),
    (0.46, 1.00, False), (0.48, 1.00, True), (0.58, 0.97, True), (0.74, 0.64, False), (0.96, 0.54, False), (1.00, 0.38, False),
)  # fmt: skip
MINIBUS: Stations = (
    (0.00, 0.40, False), (0.01, 0.60, True), (0.04, 0.97, False), (0.06, 1.00, True), (0.30, 1.00, False), (0.32, 1.00, True),
    (0.55, 1.00, False), (0.57, 1.00, True), (0.72, 0.97, True), (0.87, 0.58, False), (0.98, 0.50, False), (1.00, 0.30, False),
)  # fmt: skip
PANEL_VAN: Stations = (
    (0.00, 0.90, False), (0.01, 0.98, False), (0.30, 1.00, False), (0.60, 1.00, False), (0.64, 0.99, True), (0.74, 0.94, True),
    (0.88, 0.52, False), (0.98, 0.46, False), (1.00, 0.28, False),
)  # fmt: skip


def car(rng: np.random.Generator) -> Body:
    """Return a car: hatchback, saloon, estate, or a tall one that may pass for a van."""
    length, width, height = drawn_size(rng, (3.88, 1.63, 1.52), (0.42, 0.10, 0.11))
    stations = (HATCHBACK, SALOON, ESTATE)[rng.choice(3, p=(0.45, 0.3, 0.25))]
    if rng.random() < 0.12:
        height, stations = height + 0.17, ESTATE
    mesh = _road_vehicle(length, width, height, _wobbled(stations, rng), belt=0.62, wheel_m=0.31)
    return Body(mesh, (length, width, height), "Car", drawn_shades(rng))


def van(rng: np.random.Generator) -> Body:
    """Return a van: minibus, panel van, or a small one that may pass for a car."""
    length, width, height = drawn_size(rng, (5.08, 1.90, 2.21), (0.60, 0.12, 0.24))
    stations, belt = (MINIBUS, 0.56) if rng.random() < 0.55 else (PANEL_VAN, 0.50)
    if rng.random() < 0.2:
        length, width, height = drawn_size(rng, (4.40, 1.80, 1.85), (0.15, 0.05, 0.06))
    mesh = _road_vehicle(length, width, height, _wobbled(stations, rng), belt, wheel_m=0.34)
    return Body(mesh, (length, width, height), "Van", drawn_shades(rng))


def truck(rng: np.random.Generator) -> Body:
    """Return a truck: a cab with a box, a flatbed with a load, a tanker, or a small box truck that may pass for a van."""
    length, width, height = drawn_size(rng, (10.1, 2.56, 3.30), (2.70, 0.12, 0.35))
    if rng.random() < 0.25:
        length, width, height = drawn_size(rng, (6.60, 2.30, 2.90), (0.40, 0.10, 0.20))
    cab_m = min(2.1, 0.3 * length)
    tail, cab_tail = -length / 2, length / 2 - cab_m
    cab_height = min(height, rng.uniform(2.6, 3.2))
    cab = shell(cab_m, width * 0.97, cab_height, CAB, belt=0.5, floor_m=0.55).moved(length / 2 - cab_m / 2, 0.0, 0.0)

    deck = block([tail, -width / 2, 0.85], [cab_tail - 0.3, width / 2, 1.05], Material.STEEL)
    chassis = block([tail, -0.45, 0.55], [cab_tail, 0.45, 0.9], Material.STEEL)
    parts = [cab, deck, chassis, _load(rng, tail, cab_tail - rng.uniform(0.25, 0.7), width, height)]
    axles = [length / 2 - 1.2, tail + 1.3] + ([tail + 2.6] if length > 8.5 else [])
    parts += [wheels(axles, width, 0.48), *tail_marks(tail, width, 0.95)]
    return Body(joined(parts), (length, width, height), "Truck", drawn_shades(rng))


def tram(rng: np.random.Generator) -> Body:
    """Return a tram of one to four articulated sections."""
    sections = int(rng.choice([1, 2, 3, 4], p=[0.35, 0.3, 0.2, 0.15]))
    length, width, height = sections * rng.uniform(6.8, 8.2), rng.normal(2.5, 0.06), rng.normal(3.5, 0.1)
    each = length / sections
    parts = []
    for i in range(sections):
        nose = 0.07 if i == sections - 1 else 0.0
        tail = 0.07 if i == 0 else 0.0
        stations: list[tuple[float, float, bool]] = [(0.005, 0.5, tail > 0), (0.01 + tail, 0.97, True)]
        for pillar in np.arange(0.2, 0.95 - nose, 0.19).tolist():
            stations += [(pillar, 1.0, False), (pillar + 0.02, 1.0, True)]
        stations += [(0.99 - nose, 0.97, nose > 0), (0.995, 0.5, False)]
        skin = shell(each, width, height, stations, belt=0.42, floor_m=0.28)
        parts.append(skin.moved((i + 0.5) * each - length / 2, 0.0, 0.0))
        parts.append(wheels([(i + 0.25) * each - length / 2, (i + 0.75) * each - length / 2], width * 0.8, 0.3))
    parts.append(block([-length / 2 + 0.3, -width * 0.42, 0.5], [length / 2 - 0.3, width * 0.42, height * 0.9], Material.STEEL))
    return Body(joined(parts), (length, width, height), "Tram", drawn_shades(rng))


def _load(rng: np.random.Generator, tail: float, front: float, width: float, height: float) -> Mesh:
    kind = rng.choice(3, p=(0.6, 0.25, 0.15))
    if kind == 0:
        return block([tail, -width / 2, 1.05], [front, width / 2, height], Material.PAINT)
    if kind == 1:
        top = rng.uniform(1.5, 2.4)
        boards = block([tail, -width / 2, 1.05], [front, width / 2, top], Material.WOOD)
        return joined([boards, block([front - 0.1, -width / 2, 1.05], [front, width / 2, height], Material.STEEL)])
    radius = min(width / 2, (height - 1.05) / 2)
    ends = [[front - 0.3, 0.0, 1.05 + radius]]
    tank = rods([[tail + 0.2, 0.0, 1.05 + radius]], ends, radius, Material.STEEL)
    return joined([tank, ball([tail + 0.25, 0.0, 1.05 + radius], [0.25, radius, radius], Material.STEEL)])


def _road_vehicle(length: float, width: float, height: float, stations: Stations, belt: float, wheel_m: float) -> Mesh:
    tail, nose = -length / 2, length / 2
    sides = np.array([-1.0, 1.0])
    lights = [block([nose - 0.12, y - 0.12, 0.6], [nose - 0.02, y + 0.12, 0.72], Material.GLASS) for y in sides * 0.42 * width]
    sill = belt * height
    mirrors = [
        block([0.17 * length, y - 0.06, sill], [0.2 * length, y + 0.06, sill + 0.13], Material.PAINT)
        for y in sides * (width / 2 - 0.06)
    ]
    plate = block([nose - 0.02, -0.26, 0.38], [nose, 0.26, 0.49], Material.REFLECTOR)
    skin = shell(length, width, height, stations, belt, floor_m=0.22)
    return joined([skin, wheels([tail + 0.18 * length, nose - 0.19 * length], width, wheel_m), *lights, *mirrors, plate,
                   *tail_marks(tail, width, 0.75)])  # fmt: skip


def _wobbled(stations: Stations, rng: np.random.Generator) -> Stations:
    shift, lift = rng.uniform(-0.02, 0.02, 2).tolist()
    middle = stations[2:-2]
    return (*stations[:2], *((share + shift, min(top + lift, 1.0), glazed) for share, top, glazed in middle), *stations[-2:])
