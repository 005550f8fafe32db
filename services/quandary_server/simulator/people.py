"""People on foot, sitting and cycling, as limbs about their joints. Sizes follow KITTI's labels."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from quandary_server.simulator.bodies import Body, Shades, drawn_shades, drawn_size
from quandary_server.simulator.materials import Material
from quandary_server.simulator.meshes import Mesh, ball, block, joined, of, rods

STEPS_PER_METRE = 0.75
STANDING_LENGTH = 0.72


@dataclass(frozen=True, eq=False)
class Walker:
    """A person on foot. stride and girth are set so that the box is the one drawn; carries: what they have with them."""

    height_m: float
    length_m: float
    width_m: float
    shades: Shades
    carries: str = ""
    coat: bool = False


def walker(rng: np.random.Generator) -> Walker:
    """Return a person on foot; one in twelve is a child."""
    height, length, width = drawn_size(rng, (1.74, 0.82, 0.65), (0.10, 0.20, 0.12))
    if rng.random() < 0.08:
        height *= 0.72
    carries = str(rng.choice(["", "", "", "backpack", "bag", "trolley"]))
    return Walker(height, max(length, 0.42), max(width, 0.42), drawn_shades(rng), carries, bool(rng.random() < 0.25))


def walking(person: Walker, phase_rad: float, *, standing: bool = False) -> Body:
    """Return a person at one moment of their gait."""
    h = person.height_m
    hip, shoulder = 0.52 * h, 0.82 * h
    length = person.length_m * (STANDING_LENGTH if standing else 1.0)
    # Legs are apart for most of a step.
    sine = 0.0 if standing else np.sin(phase_rad)
    swing = float(np.sign(sine) * np.sqrt(abs(sine)) * np.clip(length / 2 - 0.15, 0.08, 0.42))
    reach = person.width_m / 2 - 0.06
    limbs: list[tuple[ArrayLike, ArrayLike, float]] = []
    for side, step in ((1, swing), (-1, -swing)):
        knee_lift = max(0.0, -step) * 0.25
        foot = [step - 0.02, side * 0.1, 0.06 + knee_lift * 0.4]
        knee = [step * 0.55 + 0.04, side * 0.1, 0.27 * h + knee_lift * 0.2]
        limbs += [([0.0, side * 0.09, hip], knee, 0.085), (knee, foot, 0.06), (foot, [foot[0] + 0.2, side * 0.1, 0.05], 0.05)]
        elbow, hand = [-step * 0.5, side * reach, 0.63 * h], [-step * 0.9 + 0.08, side * reach, 0.48 * h]
        limbs += [([0.0, side * 0.17, shoulder], elbow, 0.05), (elbow, hand, 0.04)]
    parts = [
        _limbs(limbs),
        _trunk([0.0, 0.0, hip - 0.05], [0.02, 0.0, shoulder + 0.02], 0.13, 0.19),
        _head([0.03, 0.0, 0.925 * h], h),
    ]
    if person.coat:
        parts.append(ball([0.0, 0.0, 0.5 * h], [0.2, 0.24, 0.25 * h], Material.CLOTH))
    parts += _carried(person, h)
    return Body(joined(parts), (length, person.width_m, h), "Pedestrian", person.shades)


def sitter(rng: np.random.Generator) -> Body:
    """Return a person sitting, facing ahead; what they sit on is clutter."""
    height, length, width = drawn_size(rng, (1.27, 0.80, 0.59), (0.08, 0.14, 0.06))
    seat, shoulder = 0.45, 0.45 + 0.62 * (height - 0.45)
    back = -length / 2 + 0.18
    knee_x = back + float(np.clip(length - 0.36, 0.2, 0.45))
    foot_x = min(knee_x + rng.uniform(-0.1, 0.15), length / 2 - 0.06)
    limbs: list[tuple[ArrayLike, ArrayLike, float]] = []
    for side in (1, -1):
        knee = [knee_x, side * 0.12, seat + 0.06]
        limbs += [([back, side * 0.1, seat + 0.05], knee, 0.085), (knee, [foot_x, side * 0.12, 0.08], 0.06)]
        elbow = [back + 0.08, side * (width / 2 - 0.06), seat + 0.25]
        hand_height = seat + rng.uniform(0.12, 0.35)
        limbs += [([back, side * 0.18, shoulder], elbow, 0.05), (elbow, [knee_x - 0.12, side * 0.1, hand_height], 0.04)]
    lean = back + rng.uniform(-0.02, 0.15)
    parts = [
        _limbs(limbs),
        _trunk([back, 0.0, seat], [lean, 0.0, shoulder], 0.13, 0.19),
        _head([lean + 0.03, 0.0, height - 0.12], 1.75),
    ]
    return Body(joined(parts), (length, width, height), "Person_sitting", drawn_shades(rng))


@dataclass(frozen=True, eq=False)
class Rider:
    """A person on a bicycle."""

    height_m: float
    length_m: float
    width_m: float
    lean_m: float
    shades: Shades


def rider(rng: np.random.Generator) -> Rider:
    """Return a cyclist."""
    height, length, width = drawn_size(rng, (1.74, 1.76, 0.60), (0.09, 0.14, 0.10))
    return Rider(height, length, max(width, 0.42), rng.uniform(0.05, 0.35), drawn_shades(rng))


def riding(person: Rider, phase_rad: float) -> Body:
    """Return a cyclist at one moment of pedalling."""
    h, seat = person.height_m, 0.92
    hip, neck = [-0.22, 0.0, seat + 0.06], [-0.22 + 0.15 + person.lean_m, 0.0, h - 0.24]
    grip_x = 0.38 * person.length_m / 1.76
    limbs: list[tuple[ArrayLike, ArrayLike, float]] = []
    for side, turn in ((1, phase_rad), (-1, phase_rad + np.pi)):
        pedal = [-0.02 + 0.16 * np.cos(turn), side * 0.12, 0.3 + 0.16 * np.sin(turn)]
        knee = [pedal[0] * 0.5 + 0.17, side * 0.13, 0.62 + 0.09 * np.sin(turn)]
        limbs += [([hip[0], side * 0.1, hip[2]], knee, 0.08), (knee, pedal, 0.055)]
        elbow = [neck[0] * 0.5 + grip_x * 0.5 - 0.05, side * (person.width_m / 2 - 0.06), (neck[2] + 1.05) / 2 - 0.05]
        limbs += [([neck[0] - 0.03, side * 0.17, neck[2] - 0.04], elbow, 0.05), (elbow, [grip_x, side * 0.24, 1.03], 0.04)]
    trunk = _trunk(hip, neck, 0.13, 0.18)
    parts = [_limbs(limbs), trunk, _head([neck[0] + 0.08, 0.0, h - 0.12], 1.75), bicycle(person.length_m)]
    return Body(joined(parts), (person.length_m, person.width_m, h), "Cyclist", person.shades)


def bicycle(length_m: float) -> Mesh:
    """Return a bicycle of this length."""
    radius = 0.33
    rear, front = -length_m / 2 + radius, length_m / 2 - radius
    crank, saddle, stem = [-0.02, 0.0, 0.3], [-0.2, 0.0, 0.9], [front - 0.2, 0.0, 0.95]
    frame = [
        (crank, saddle), (crank, stem), (saddle, stem), ([rear, 0, radius], crank), ([rear, 0, radius], saddle),
        ([front, 0, radius], stem), ([front - 0.22, -0.27, 1.02], [front - 0.22, 0.27, 1.02]),
    ]  # fmt: skip
    tubes = rods([a for a, _ in frame], [b for _, b in frame], 0.022, Material.STEEL)
    return joined([tubes, _ring(rear, radius), _ring(front, radius)])


def _ring(x: float, radius: float) -> Mesh:
    """Return a wheel as a flat ring with a few spokes' worth of surface."""
    angles = np.linspace(0.0, 2 * np.pi, 13)
    outer = np.stack([x + radius * np.cos(angles), 0 * angles, radius + radius * np.sin(angles)], axis=1)
    inner = np.stack([x + 0.85 * radius * np.cos(angles), 0 * angles, radius + 0.85 * radius * np.sin(angles)], axis=1)
    tyre = np.stack([outer[:-1], outer[1:], inner[:-1]], axis=1), np.stack([outer[1:], inner[1:], inner[:-1]], axis=1)
    middle = np.broadcast_to([x, 0.0, radius], (4, 3))
    spokes = np.stack([middle, inner[0:12:3], inner[1:13:3] * 0.1 + inner[0:12:3] * 0.9], axis=1)
    return joined([of(np.concatenate(tyre), Material.RUBBER), of(spokes, Material.STEEL)])


def _limbs(limbs: list[tuple[ArrayLike, ArrayLike, float]]) -> Mesh:
    starts, ends, radii = zip(*limbs, strict=True)
    return rods(np.array(starts, float), np.array(ends, float), np.array(radii), Material.CLOTH)


def _trunk(low: ArrayLike, high: ArrayLike, deep_m: float, wide_m: float) -> Mesh:
    low, high = np.asarray(low, float), np.asarray(high, float)
    shear = _between(low, high)
    return of(ball([0, 0, 0], [deep_m, wide_m, 0.5], Material.CLOTH).triangles @ shear + (low + high) / 2, Material.CLOTH)


def _between(low: NDArray[np.float64], high: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the row-vector transform that stretches the z axis along low to high, a little beyond both."""
    return np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], (high - low) * 1.15])


def _head(centre: ArrayLike, height_m: float) -> Mesh:
    return ball(centre, [0.1 * height_m / 1.75, 0.085 * height_m / 1.75, 0.125 * height_m / 1.75], Material.SKIN)


def _carried(person: Walker, h: float) -> list[Mesh]:
    match person.carries:
        case "backpack":
            return [block([-0.3, -0.15, 0.58 * h], [-0.1, 0.15, 0.82 * h], Material.CLOTH)]
        case "bag":
            side = person.width_m / 2 - 0.12
            return [block([-0.15, side, 0.25 * h], [0.18, side + 0.12, 0.45 * h], Material.CLOTH)]
        case "trolley":
            return [block([-0.4, -0.35, 0.05], [-0.2, 0.0, 0.6], Material.CLOTH)]
        case _:
            return []
