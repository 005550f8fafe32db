"""The plan of a query: which of its steps are taken, and how far."""

import math
from dataclasses import dataclass
from enum import StrEnum

from quandary_server.selection.folding import Nearness
from quandary_server.selection.quotas import ClassQuota, Quota, TagQuota

MAX_SHORTLIST, MAX_POWER = 1e4, 1e3


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
    COVER = "cover"
    """What its objects would tell in all, those that a pick before it shows left out: a cover of a shortlist."""
    RANDOM = "random"
    """Chance alone."""


@dataclass(frozen=True, slots=True)
class QueryPlan:
    """How a query picks; the defaults switch every step but the ranking off.

    shortlist: for DIVERSE and COVER, how many times as many candidates as picks the core-set or cover is taken of; 1 is the
    plain top k. reach: for COVER, the cosine distance from which on an object is wholly another. class_floor: share of an even
    split over the classes that each class is due, 0 to 1. gap_s: least time between two picks of a drive. gap_m: how far the
    car moves between two that are closer in time and yet apart, where its poses are known; None: never. max_distance: cosine
    distance below which a neighbour in time is a near copy; None: time alone decides. power: for POWER, of the score; 0 is
    chance alone. chance: share of the picks that is drawn by chance, in proportion to the objects expected, whatever the score:
    boxes are learnt of usual objects, which no score asks for. fold: near copies of what is picked wait folded under it; else
    they fill up where too few are apart. quotas: of the picks, with what the newest generation has asked for before. Raises
    ValueError naming the field for a value out of bounds.
    """

    strategy: Strategy
    shortlist: float = 1.0
    class_floor: float = 0.0
    gap_s: float = 0.0
    max_distance: float | None = None
    power: float = 1.0
    chance: float = 0.0
    gap_m: float | None = None
    reach: float = 0.5
    fold: bool = False
    quotas: tuple[Quota, ...] = ()

    def __post_init__(self) -> None:
        _check("shortlist", self.shortlist, 1.0, MAX_SHORTLIST)
        _check("class_floor", self.class_floor, 0.0, 1.0)
        _check("gap_s", self.gap_s, 0.0, math.inf)
        _check("power", self.power, 0.0, MAX_POWER)
        _check("chance", self.chance, 0.0, 1.0)
        if self.max_distance is not None:
            _check("max_distance", self.max_distance, 0.0, 2.0)
        if self.gap_m is not None:
            _check("gap_m", self.gap_m, 0.0, math.inf)
        if self.reach <= 0:
            raise ValueError(f"reach is {self.reach}, must be above 0")
        _check("reach", self.reach, 0.0, 2.0)

    @property
    def spreads(self) -> bool:
        """Whether picks are spread over the embeddings."""
        return self.strategy is Strategy.K_CENTRE or (self.strategy is Strategy.DIVERSE and self.shortlist > 1)

    @property
    def nearness(self) -> Nearness:
        """What makes two near copies."""
        return Nearness(self.gap_s, self.max_distance, self.gap_m)

    @property
    def needs_embeddings(self) -> bool:
        """Whether embeddings of frames, those of what is taken among them, change what is picked."""
        return self.spreads or (self.gap_s > 0 and self.max_distance is not None)

    @property
    def needs_objects(self) -> bool:
        """Whether embeddings of objects change what is picked; of what is taken, those by the same generation alone."""
        return self.strategy is Strategy.COVER

    @property
    def needs_class_shares(self) -> bool:
        """Whether class shares change what is picked."""
        return self.class_floor > 0 or self.chance > 0 or self.needs_taken_class_shares

    @property
    def needs_taken_class_shares(self) -> bool:
        """Whether class shares of what is taken change what is picked."""
        return any(isinstance(quota, ClassQuota) for quota in self.quotas)

    @property
    def tag_keys(self) -> tuple[str, ...]:
        """The tags that change what is picked."""
        return tuple(sorted({quota.key for quota in self.quotas if isinstance(quota, TagQuota)}))


def _check(name: str, value: float, least: float, most: float) -> None:
    if not (least <= value <= most and math.isfinite(value)):
        raise ValueError(f"{name} is {value}, must be finite and {least:g} to {most:g}")
