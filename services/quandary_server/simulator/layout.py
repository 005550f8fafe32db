"""Laying out a street: what stands there for a whole drive, parked vehicles and waiting people included."""

import numpy as np

from quandary_server.simulator.bodies import Body
from quandary_server.simulator.fronts import fronts
from quandary_server.simulator.furniture import FRONTSIDE, KERBSIDE, bench, cafe_table, one_of
from quandary_server.simulator.kinds import StreetKind, VehicleMix
from quandary_server.simulator.oddities import misc
from quandary_server.simulator.path import StreetPath
from quandary_server.simulator.people import sitter, walker, walking
from quandary_server.simulator.placing import Placed, place
from quandary_server.simulator.profile import PARKING_M, Side
from quandary_server.simulator.vehicles import car, truck, van

VEHICLE_MAKERS = {"Car": car, "Van": van, "Truck": truck, "Misc": misc}
JUNCTION_CLEARANCE_M = 7.0


def drawn_vehicle(mix: VehicleMix, rng: np.random.Generator) -> Body:
    """Return a vehicle of a class drawn by weight."""
    names = list(mix.weights)
    shares = np.array([mix.weights[name] for name in names])
    return VEHICLE_MAKERS[names[int(rng.choice(len(names), p=shares / shares.sum()))]](rng)


def drawn_junctions(path: StreetPath, rng: np.random.Generator) -> tuple[float, ...]:
    """Return where side streets meet the street (s in metres)."""
    places = []
    s = rng.uniform(0.0, 60.0)
    while s < path.end_m:
        places.append(float(s))
        s += rng.uniform(50.0, 140.0)
    return tuple(places)


def standing(kind: StreetKind, sides: tuple[Side, Side], path: StreetPath, rng: np.random.Generator) -> list[Placed]:
    """Return all that does not move during a drive, on both sides."""
    junctions = drawn_junctions(path, rng)
    placed: list[Placed] = []
    for side in sides:
        placed += fronts(kind, side, path, junctions, rng)
        placed += _parked(kind, side, path, junctions, rng)
        placed += _furniture(kind, side, path, rng)
        placed += _groups(kind, side, path, rng)
        placed += _sitting(kind, side, path, rng)
        placed += _side_streets(kind, side, path, junctions, rng)
    return placed


def _parked(
    kind: StreetKind, side: Side, path: StreetPath, junctions: tuple[float, ...], rng: np.random.Generator
) -> list[Placed]:
    placed: list[Placed] = []
    if not side.parking:
        return placed
    across = side.parking == "across"
    s, occupied = float(path.s_m[0]), True
    while s < path.end_m:
        body = drawn_vehicle(kind.parked_mix, rng)
        length, width, _ = body.extents_m
        room = width + rng.uniform(0.6, 1.1) if across else length + rng.uniform(0.6, 1.6)
        # Parked cars come in rows: the next place is mostly as the last.
        if rng.random() < 0.35:
            occupied = bool(rng.random() < kind.parked_share)
        if occupied and (not across or length <= PARKING_M["across"]) and _clear(s + room / 2, junctions):
            along = 0.0 if rng.random() < (0.5 if across else 0.9) else np.pi
            turn = (np.pi / 2 if across else (0.0 if side.sign < 0 else np.pi)) + along + rng.normal(0.0, 0.03)
            d = side.d(side.parking_m + rng.normal(0.0, 0.1))
            placed.append(place(body, path, s + room / 2, d, turn))
        s += room
    return placed


def _furniture(kind: StreetKind, side: Side, path: StreetPath, rng: np.random.Generator) -> list[Placed]:
    placed = []
    for choices, density in ((KERBSIDE, kind.kerbside), (FRONTSIDE, kind.frontside)):
        for _ in range(rng.poisson(density / 2 * _hundreds(path))):
            body = one_of(choices, rng)
            deep = body.extents_m[1] / 2
            by_kerb = side.kerb_m + 0.4 + deep
            distance = (
                by_kerb if choices is KERBSIDE else max(side.front_m - 0.4 - deep, by_kerb) + rng.uniform(0, kind.verge_m)
            )
            placed.append(place(body, path, _somewhere(path, rng), side.d(distance), _towards_street(side), kind.kerb_m))
    return placed


def _groups(kind: StreetKind, side: Side, path: StreetPath, rng: np.random.Generator) -> list[Placed]:
    placed = []
    for _ in range(rng.poisson(kind.groups / 2 * _hundreds(path))):
        s, distance = _somewhere(path, rng), rng.uniform(side.kerb_m + 0.8, max(side.pavement_end_m - 0.8, side.kerb_m + 1.0))
        for angle in np.arange(rng.integers(1, 5)) * rng.uniform(1.2, 2.2) + rng.uniform(0, 6):
            body = walking(walker(rng), 0.0, standing=True)
            s_own, d_own = s + 0.6 * np.cos(angle), side.d(distance) + 0.6 * np.sin(angle)
            placed.append(place(body, path, s_own, d_own, angle + np.pi + rng.normal(0, 0.3), kind.kerb_m))
    return placed


def _sitting(kind: StreetKind, side: Side, path: StreetPath, rng: np.random.Generator) -> list[Placed]:
    placed = []
    for _ in range(rng.poisson(kind.sitters / 4 * _hundreds(path))):
        s, distance = _somewhere(path, rng), rng.uniform((side.kerb_m + side.pavement_end_m) / 2, side.pavement_end_m - 0.5)
        if rng.random() < 0.5:
            turn = _towards_street(side) - side.sign * np.pi / 2
            placed.append(place(bench(rng), path, s, side.d(distance), turn, kind.kerb_m))
            seats = [(along, 0.0, turn) for along in rng.permutation([-0.45, 0.3])[: rng.integers(1, 3)]]
        else:
            placed.append(place(cafe_table(rng), path, s, side.d(distance), 0.0, kind.kerb_m))
            angles = np.arange(rng.integers(1, 5)) * np.pi / 2 + rng.normal(0, 0.2)
            seats = [(0.75 * np.cos(a), 0.75 * np.sin(a), a + np.pi) for a in angles.tolist()]
        for along, out, facing in seats:
            placed.append(place(sitter(rng), path, s + along, side.d(distance) + out, facing, kind.kerb_m))
    return placed


def _side_streets(
    kind: StreetKind, side: Side, path: StreetPath, junctions: tuple[float, ...], rng: np.random.Generator
) -> list[Placed]:
    placed = []
    for junction in junctions:
        for lane, turn in ((-1.7, 1.0), (1.7, -1.0), (-4.2, 1.0), (4.2, -1.0)):
            distance = side.kerb_m + rng.uniform(4.5, 9.0)
            for _ in range(rng.poisson(0.35)):
                body = drawn_vehicle(kind.moving_mix, rng)
                distance += body.extents_m[0] / 2
                placed.append(place(body, path, junction + lane, side.d(distance), turn * np.pi / 2 + rng.normal(0, 0.03)))
                distance += body.extents_m[0] / 2 + rng.uniform(1.5, 6.0)
    return placed


def _towards_street(side: Side) -> float:
    """Return the turn after which +y of a body looks away from the street."""
    return 0.0 if side.sign > 0 else np.pi


def _clear(s: float, junctions: tuple[float, ...]) -> bool:
    return all(abs(s - junction) > JUNCTION_CLEARANCE_M for junction in junctions)


def _somewhere(path: StreetPath, rng: np.random.Generator) -> float:
    return float(rng.uniform(path.s_m[0], path.end_m))


def _hundreds(path: StreetPath) -> float:
    return (path.end_m - float(path.s_m[0])) / 100.0
