"""A street across: from the centre line outwards lanes, parking, kerb, pavement, verge, and where the fronts begin."""

from dataclasses import dataclass

from quandary_server.simulator.kinds import StreetKind

LANE_M = 3.2
TRACK_M = 6.2
PARKING_M = {"": 0.0, "along": 2.2, "across": 5.0}


@dataclass(frozen=True)
class Side:
    """Distances from the centre line on one side, in metres, outwards; on the right, d is their negative."""

    sign: int
    lanes: tuple[float, ...]
    parking: str
    parking_m: float
    kerb_m: float
    pavement_end_m: float
    front_m: float

    def d(self, distance_m: float) -> float:
        """Return d of a distance from the centre line."""
        return self.sign * distance_m


def sides_of(kind: StreetKind) -> tuple[Side, Side]:
    """Return the left and the right side of a kind of street; traffic keeps to the right."""
    return _side(kind, 1, kind.parking[0]), _side(kind, -1, kind.parking[1])


def _side(kind: StreetKind, sign: int, parking: str) -> Side:
    inner = TRACK_M / 2 if kind.tram_track else 0.0
    lanes = tuple(inner + (i + 0.5) * LANE_M for i in range(kind.lanes))
    carriageway_m = inner + kind.lanes * LANE_M
    kerb_m = carriageway_m + PARKING_M[parking]
    pavement_end_m = kerb_m + kind.pavement_m
    setback_m = {"buildings": 0.0, "houses": 0.4, "open": 3.0}[kind.front]
    return Side(sign, lanes, parking, carriageway_m + PARKING_M[parking] / 2, kerb_m, pavement_end_m,
                pavement_end_m + kind.verge_m + setback_m)  # fmt: skip
