"""Kinds of street: what they look like across, and what stands and moves there."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType


@dataclass(frozen=True)
class VehicleMix:
    """Weights with which a vehicle is drawn; trams have their tracks."""

    weights: Mapping[str, float]

    @classmethod
    def of(cls, **weights: float) -> "VehicleMix":
        """Return the mix of these weights by class."""
        return cls(MappingProxyType(weights))


@dataclass(frozen=True)
class StreetKind:
    """One kind of street. Lengths in metres; densities per 100 m of street, both sides together.

    lanes: for motor traffic, per direction. parking: `along`, `across` or empty, on the left and on the right, of whose places
    `parked_share` is taken. front: what closes the street off, `buildings`, `houses` or `open`. moving: vehicles in motion.
    groups: of people standing about. kerbside and frontside: furniture by the kerb and before the fronts. bend_rad: how
    far the street swings.
    """

    name: str
    front: str
    lanes: int
    speed_m_s: float
    moving: float
    walkers: float
    cyclists: float
    parking: tuple[str, str] = ("", "")
    parked_share: float = 0.0
    tram_track: bool = False
    trams: float = 0.0
    groups: float = 0.0
    sitters: float = 0.0
    pavement_m: float = 2.4
    verge_m: float = 0.0
    kerb_m: float = 0.12
    kerbside: float = 14.0
    frontside: float = 10.0
    bend_rad: float = 0.6
    parked_mix: VehicleMix = field(default_factory=lambda: VehicleMix.of(Car=0.90, Van=0.065, Truck=0.01, Misc=0.03))
    moving_mix: VehicleMix = field(default_factory=lambda: VehicleMix.of(Car=0.90, Van=0.075, Truck=0.025))


RESIDENTIAL = StreetKind(
    name="residential",
    front="houses",
    lanes=1,
    speed_m_s=6.5,
    moving=1.5,
    walkers=1.3,
    cyclists=0.59,
    parking=("along", "along"),
    parked_share=0.4,
    groups=0.2,
    sitters=0.05,
    bend_rad=0.9,
    parked_mix=VehicleMix.of(Car=0.88, Van=0.06, Truck=0.006, Misc=0.05),
)
CITY = StreetKind(
    name="city",
    front="buildings",
    lanes=2,
    speed_m_s=8.0,
    moving=4.0,
    walkers=5.0,
    cyclists=1.1,
    parking=("along", ""),
    parked_share=0.43,
    groups=1.0,
    sitters=0.4,
    pavement_m=2.8,
    kerbside=18.0,
    frontside=8.0,
)
TRAM_STREET = StreetKind(
    name="tram street",
    front="buildings",
    lanes=1,
    speed_m_s=7.0,
    moving=2.5,
    walkers=3.2,
    cyclists=0.85,
    parking=("along", "along"),
    parked_share=0.36,
    tram_track=True,
    trams=0.65,
    groups=0.6,
    sitters=0.4,
    pavement_m=2.8,
    kerbside=16.0,
    frontside=7.0,
    bend_rad=0.5,
)
PEDESTRIAN_ZONE = StreetKind(
    name="pedestrian zone",
    front="buildings",
    lanes=1,
    speed_m_s=3.0,
    moving=0.9,
    walkers=7.8,
    cyclists=1.9,
    groups=2.0,
    sitters=2.0,
    pavement_m=4.5,
    kerb_m=0.0,
    kerbside=18.0,
    frontside=18.0,
    bend_rad=0.7,
    moving_mix=VehicleMix.of(Car=0.62, Van=0.31, Truck=0.07),
)
MAIN_ROAD = StreetKind(
    name="main road",
    front="open",
    lanes=2,
    speed_m_s=12.0,
    moving=7.0,
    walkers=0.4,
    cyclists=0.51,
    pavement_m=2.0,
    verge_m=4.0,
    kerbside=10.0,
    frontside=14.0,
    bend_rad=0.5,
    moving_mix=VehicleMix.of(Car=0.85, Van=0.07, Truck=0.04, Misc=0.04),
)
CAR_PARK = StreetKind(
    name="car park",
    front="houses",
    lanes=1,
    speed_m_s=5.0,
    moving=1.5,
    walkers=2.2,
    cyclists=0.68,
    parking=("across", "along"),
    parked_share=0.43,
    groups=0.4,
    sitters=0.2,
    pavement_m=2.0,
    verge_m=2.0,
    kerbside=10.0,
    frontside=14.0,
    bend_rad=0.7,
    parked_mix=VehicleMix.of(Car=0.86, Van=0.07, Truck=0.01, Misc=0.06),
)

STREET_KINDS = (TRAM_STREET, PEDESTRIAN_ZONE, CAR_PARK, CITY, RESIDENTIAL, MAIN_ROAD)
"""The drives of a split take them in turn, so that even three see every class.

All six together are mixed so that labels come in KITTI's shares: 71 % cars, 11 pedestrians, 7 vans, 4 cyclists, 2.7 trucks,
2.4 misc, 1.3 trams, 0.5 sitting persons.
"""
