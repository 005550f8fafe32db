"""The plan of a query: which of its steps are taken, and how far."""

import math
from dataclasses import dataclass
from enum import StrEnum


class Strategy(StrEnum):
    """What makes a candidate be asked for before another."""

    TOP_K = "top_k"
    """The highest score."""
    POWER = "power"
    """Chance, in proportion to a power of the score (arXiv 2106.12059)."""
    K_CENTRE = "k_centre"
    """The distance of its embedding from all that is taken: a core-set (arXiv 1708.00489). Scores decide ties alone."""
    DIVERSE = "diverse"
    """A core-set of a shortlist by score."""
    RANDOM = "random"
    """Chance alone."""


@dataclass(frozen=True, slots=True)
class QueryPlan:
    """How a query picks; the defaults switch every step but the ranking off.

    shortlist: for DIVERSE, how many times as many candidates as picks the core-set is taken of; 1 is the plain top k.
    class_floor: share of an even split over the classes that each class is due, 0 to 1. gap_s: least time between two picks
    of a drive. max_distance: cosine distance below which a neighbour in time is a near copy; None: time alone decides.
    power: for POWER, of the score; 0 is chance alone. chance: share of the picks that is drawn by chance, in proportion to the
    objects expected, whatever the score: boxes are learnt of usual objects, which no score asks for. Raises ValueError naming
    the field for a value out of bounds.
    """

    strategy: Strategy
    shortlist: float = 1.0
    class_floor: float = 0.0
    gap_s: float = 0.0
    max_distance: float | None = None
    power: float = 1.0
    chance: float = 0.0

    def __post_init__(self) -> None:
        _check("shortlist", self.shortlist, 1.0, math.inf)
        _check("class_floor", self.class_floor, 0.0, 1.0)
        _check("gap_s", self.gap_s, 0.0, math.inf)
        _check("power", self.power, 0.0, math.inf)
        _check("chance", self.chance, 0.0, 1.0)
        if self.max_distance is not None:
            _check("max_distance", self.max_distance, 0.0, 2.0)

    @property
    def spreads(self) -> bool:
        """Whether picks are spread over the embeddings."""
        return self.strategy is Strategy.K_CENTRE or (self.strategy is Strategy.DIVERSE and self.shortlist > 1)

    @property
    def needs_embeddings(self) -> bool:
        """Whether embeddings change what is picked."""
        return self.spreads or (self.gap_s > 0 and self.max_distance is not None)

    @property
    def needs_class_shares(self) -> bool:
        """Whether class shares change what is picked."""
        return self.class_floor > 0 or self.chance > 0


def _check(name: str, value: float, least: float, most: float) -> None:
    if not (least <= value <= most and math.isfinite(value)):
        raise ValueError(f"{name} is {value}, must be finite and {least:g} to {most:g}")
