"""What moves in a street: traffic in its lanes, cyclists, trams, people walking along and across."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from quandary_server.simulator.bodies import Body
from quandary_server.simulator.ego import EgoMotion
from quandary_server.simulator.kinds import StreetKind
from quandary_server.simulator.layout import drawn_vehicle
from quandary_server.simulator.path import StreetPath
from quandary_server.simulator.people import STEPS_PER_METRE, Rider, Walker, rider, riding, walker, walking
from quandary_server.simulator.placing import Placed, place
from quandary_server.simulator.profile import TRACK_M, Side
from quandary_server.simulator.vehicles import tram

WALKING_ALONG, CROSSING = 0.55, 0.3
CYCLING_ALONG, CYCLING_ACROSS = 0.75, 0.3
"""Shares of the densities of a street's kind."""


@dataclass(frozen=True, eq=False)
class Actor:
    """One moving object: s and d in metres over time, and its body, which for people changes with the way they went."""

    s_m: Callable[[float], float]
    d_m: Callable[[float], float]
    turn_rad: float
    lift_m: float
    body: Body | Walker | Rider

    def at(self, path: StreetPath, time_s: float) -> Placed | None:
        """Return the actor at a time, or None while it is off the street."""
        s, d = self.s_m(time_s), self.d_m(time_s)
        if not path.s_m[0] < s < path.end_m:
            return None
        phase = 2 * np.pi * STEPS_PER_METRE * (abs(s) + abs(d))
        match self.body:
            case Walker():
                body = walking(self.body, phase)
            case Rider():
                body = riding(self.body, phase)
            case _:
                body = self.body
        return place(body, path, s, d, self.turn_rad, self.lift_m)


def traffic(
    kind: StreetKind, sides: tuple[Side, Side], ego: EgoMotion, duration_s: float, rng: np.random.Generator
) -> list[Actor]:
    """Return all actors of a drive."""
    left, right = sides
    actors = _leaders(kind, right, ego, rng)
    for side in sides:
        for lane, distance in enumerate(side.lanes):
            if side is left or lane > 0:
                actors += _lane(kind, side, distance, ego.path, duration_s, rng)
        actors += _cyclists(kind, side, ego.path, duration_s, rng)
        actors += _walkers(kind, side, ego.path, duration_s, rng)
        actors += _trams(kind, side, ego.path, duration_s, rng)
    return actors + _crossers(kind, left, right, ego, duration_s, rng)


def _steady(start: float, speed: float) -> Callable[[float], float]:
    return lambda time_s: start + speed * time_s


def _swaying(middle: float, size: float, period_s: float, phase: float) -> Callable[[float], float]:
    return lambda time_s: middle + size * np.sin(2 * np.pi * time_s / period_s + phase)


def _ahead_of(ego: EgoMotion, gap: float, size: float, period_s: float, phase: float) -> Callable[[float], float]:
    return lambda time_s: ego.s_at(time_s) + gap + size * np.sin(2 * np.pi * time_s / period_s + phase)


def _leaders(kind: StreetKind, right: Side, ego: EgoMotion, rng: np.random.Generator) -> list[Actor]:
    """Return the vehicles in the ego's own lane: they keep its pace, so that nobody drives into another."""
    actors = []
    gap = rng.uniform(9.0, 25.0)
    while gap < 110.0:
        if rng.random() < min(0.9, 0.12 * kind.moving + 0.15):
            body = drawn_vehicle(kind.moving_mix, rng)
            gap += body.extents_m[0] / 2
            along = _ahead_of(ego, gap, 2.0, rng.uniform(15, 30), rng.uniform(0, 6))
            across = _swaying(right.d(right.lanes[0]), 0.2, rng.uniform(6, 12), rng.uniform(0, 6))
            actors.append(Actor(along, across, rng.normal(0, 0.01), 0.0, body))
            gap += body.extents_m[0] / 2
        gap += rng.uniform(9.0, 40.0)
    return actors


def _lane(
    kind: StreetKind, side: Side, distance: float, path: StreetPath, duration_s: float, rng: np.random.Generator
) -> list[Actor]:
    """Return the traffic of one other lane, all at one speed, some of it a queue."""
    heading = -side.sign
    speed = kind.speed_m_s * rng.uniform(0.7, 1.3) * (0.15 if rng.random() < 0.2 else 1.0)
    actors = []
    travelled = speed * duration_s
    s = float(path.s_m[0]) - (travelled if heading > 0 else 0.0)
    end = path.end_m + (travelled if heading < 0 else 0.0)
    spacing = 100.0 / max(kind.moving, 0.1) * (2 if kind.lanes == 1 else 3)
    while s < end:
        body = drawn_vehicle(kind.moving_mix, rng)
        s += body.extents_m[0] / 2
        across = _swaying(side.d(distance), 0.2, rng.uniform(6, 12), rng.uniform(0, 6))
        turn = (0.0 if heading > 0 else np.pi) + rng.normal(0, 0.01)
        actors.append(Actor(_steady(s, heading * speed), across, turn, 0.0, body))
        s += body.extents_m[0] / 2 + 2.0 + rng.exponential(spacing)
    return actors


def _count(density: float, path: StreetPath, speed: float, duration_s: float, rng: np.random.Generator) -> int:
    return int(rng.poisson(density / 2 * (path.end_m - path.s_m[0] + speed * duration_s) / 100.0))


def _along(path: StreetPath, speed: float, duration_s: float, rng: np.random.Generator) -> Callable[[float], float]:
    """Return a steady way that starts anywhere from which the street can be reached during the drive."""
    travelled = speed * duration_s
    low, high = float(path.s_m[0]) - max(travelled, 0.0), path.end_m - min(travelled, 0.0)
    return _steady(rng.uniform(low, high), speed)


def _cyclists(kind: StreetKind, side: Side, path: StreetPath, duration_s: float, rng: np.random.Generator) -> list[Actor]:
    actors = []
    for _ in range(_count(kind.cyclists * CYCLING_ALONG, path, 4.5, duration_s, rng)):
        speed = -side.sign * rng.uniform(3.0, 6.0)
        on_pavement = rng.random() < 0.35
        distance = rng.uniform(side.kerb_m + 0.5, side.pavement_end_m - 0.5) if on_pavement else side.lanes[-1] + 1.1
        if on_pavement and rng.random() < 0.4:
            speed = -speed
        across = _swaying(side.d(distance), 0.15, rng.uniform(2, 5), rng.uniform(0, 6))
        turn = (0.0 if speed > 0 else np.pi) + rng.normal(0, 0.25)
        lift = kind.kerb_m if on_pavement else 0.0
        actors.append(Actor(_along(path, speed, duration_s, rng), across, turn, lift, rider(rng)))
    return actors


def _walkers(kind: StreetKind, side: Side, path: StreetPath, duration_s: float, rng: np.random.Generator) -> list[Actor]:
    actors = []
    for _ in range(_count(kind.walkers * WALKING_ALONG, path, 1.4, duration_s, rng)):
        speed = rng.uniform(0.8, 1.8) * rng.choice([-1, 1])
        distance, along = rng.uniform(side.kerb_m + 0.7, side.pavement_end_m - 0.5), _along(path, speed, duration_s, rng)
        turn = 0.0 if speed > 0 else np.pi
        in_company = bool(rng.random() < 0.2)
        for beside in (0.0, 0.75) if in_company else (0.0,):
            across = _swaying(side.d(distance + beside), 0.15, rng.uniform(4, 9), rng.uniform(0, 6))
            actors.append(Actor(along, across, turn + rng.normal(0, 0.35), kind.kerb_m, walker(rng)))
    return actors


def _crossers(
    kind: StreetKind, left: Side, right: Side, ego: EgoMotion, duration_s: float, rng: np.random.Generator
) -> list[Actor]:
    """Return people who cross the street some way ahead of the ego, on foot or by bicycle, straight or askew."""
    actors = []
    hundreds = (ego.s_at(duration_s) + 60.0) / 100.0
    on_foot, riding_ = rng.poisson(kind.walkers * CROSSING * hundreds), rng.poisson(kind.cyclists * CYCLING_ACROSS * hundreds)
    for body in [walker(rng) for _ in range(on_foot)] + [rider(rng) for _ in range(riding_)]:
        start_s = rng.uniform(0.0, duration_s)
        s = ego.s_at(start_s) + rng.uniform(14.0, 45.0)
        across_m_s = rng.uniform(0.9, 1.7) * rng.choice([-1, 1]) * (2.0 if isinstance(body, Rider) else 1.0)
        along_m_s = across_m_s * rng.normal(0.0, 0.5)
        edge = -right.kerb_m - 0.5 if across_m_s > 0 else left.kerb_m + 0.5
        # On the move from a step before one kerb to a step behind the other; before and after that they stand.
        from_s, to_s = sorted((start_s + (end - edge) / across_m_s) for end in (-right.kerb_m - 1.5, left.kerb_m + 1.5))
        along, across = (_while(v0, v, start_s, from_s, to_s) for v0, v in ((s, along_m_s), (edge, across_m_s)))
        actors.append(Actor(along, across, float(np.arctan2(across_m_s, along_m_s)), 0.0, body))
    return actors


def _while(start: float, speed: float, start_s: float, from_s: float, to_s: float) -> Callable[[float], float]:
    """Return a way that is at `start` at start_s and steady from from_s to to_s."""
    return lambda time_s: start + speed * (min(max(time_s, from_s), to_s) - start_s)


def _trams(kind: StreetKind, side: Side, path: StreetPath, duration_s: float, rng: np.random.Generator) -> list[Actor]:
    actors: list[Actor] = []
    if not kind.tram_track:
        return actors
    speed = -side.sign * rng.uniform(3.0, 9.0)
    turn = 0.0 if speed > 0 else np.pi
    s, end = float(path.s_m[0]) - max(speed * duration_s, 0.0), path.end_m - min(speed * duration_s, 0.0)
    s += rng.uniform(0.0, 60.0)
    while s < end:
        if rng.random() < min(kind.trams / 2, 1.0):
            actors.append(Actor(_steady(s, speed), _steady(side.d(TRACK_M / 4), 0.0), turn, 0.0, tram(rng)))
        s += rng.uniform(50.0, 110.0)
    return actors
