"""The section of the query: what is asked for next, and what a label costs."""

from collections.abc import Mapping
from datetime import timedelta

from pydantic import Field, field_validator

from quandary.errors import InvalidArgument
from quandary.labels import CLASSES
from quandary_server.selection.cost import LabellingCost
from quandary_server.selection.plan import MAX_POWER, MAX_SHORTLIST, QueryPlan, Strategy
from quandary_server.settings.quotas import QuotaSettings, check_together
from quandary_server.settings.section import Section, Share

__all__ = ["DEFAULT_PLAN", "QuerySettings"]

DEFAULT_PLAN = QueryPlan(Strategy.COVER, shortlist=3.0, class_floor=0.3, gap_s=1.0, gap_m=10.0, chance=0.5, fold=True)
"""How a query picks unless told otherwise: half by what its objects tell that none before it shows, half by chance, with near
copies folded: frames of a drive within a second and ten metres."""


class QuerySettings(Section):
    """What is asked for next."""

    strategy: Strategy = Field(default=DEFAULT_PLAN.strategy, description="what makes a frame be asked for before another")
    shortlist: float = Field(
        default=DEFAULT_PLAN.shortlist, ge=1, le=MAX_SHORTLIST, description="for diverse and cover: candidates per pick"
    )
    reach: float = Field(
        default=DEFAULT_PLAN.reach, gt=0, le=2, description="for cover: cosine distance from which an object is another"
    )
    class_floor: Share = Field(default=DEFAULT_PLAN.class_floor, description="share of an even split due to each class")
    gap: timedelta = Field(
        default=timedelta(seconds=DEFAULT_PLAN.gap_s), ge=timedelta(), description="least time between two picks of a drive"
    )
    gap_m: float | None = Field(
        default=DEFAULT_PLAN.gap_m,
        ge=0,
        allow_inf_nan=False,
        description="metres that the car moves between two picks of a drive within the gap, where its poses are known; none: "
        "the gap holds however far",
    )
    fold: bool = Field(default=DEFAULT_PLAN.fold, description="near copies of picks wait folded under them, not leased besides")
    max_distance: float | None = Field(
        default=DEFAULT_PLAN.max_distance,
        ge=0,
        le=2,
        description="cosine distance below which frames within the gap are near copies; none: all are",
    )
    power: float = Field(default=DEFAULT_PLAN.power, ge=0, le=MAX_POWER, description="for power: of the score")
    chance: Share = Field(default=DEFAULT_PLAN.chance, description="share drawn by chance, in proportion to expected objects")
    quotas: tuple[QuotaSettings, ...] = Field(
        default=(), description="shares of classes, drives and tags, which every start of what is asked for keeps"
    )
    picked: int = Field(default=200, ge=1, le=1_000_000, description="tasks that a query ranks at most")
    refill_below: int = Field(default=50, ge=1, le=1_000_000, description="a new query runs when fewer ranked tasks wait")
    budget: timedelta | None = Field(
        default=None,
        ge=timedelta(),
        description="labelling work that a query ranks at most, a first frame always; none: no limit",
    )
    frame_time: timedelta = Field(
        default=timedelta(seconds=10), ge=timedelta(), description="labelling work of a frame without its boxes"
    )
    box_time: timedelta = Field(default=timedelta(seconds=114), ge=timedelta(), description="labelling work of a 3D box")
    class_times: Mapping[str, timedelta] = Field(
        default_factory=dict,
        description="that of a box of some class, by its name; Background: of a proposal without an object",
    )
    sparse_points: int = Field(default=0, ge=0, description="an object of fewer points takes sparse_factor times as long")
    sparse_factor: float = Field(default=1.0, ge=1, allow_inf_nan=False, description="by which few points slow a box down")

    @field_validator("gap_m", "max_distance", "budget", mode="before")
    @classmethod
    def _unset(cls, value: object) -> object:
        # neither TOML nor the environment has a word for it
        return None if value == "none" else value

    @field_validator("class_times")
    @classmethod
    def _of_classes(cls, value: Mapping[str, timedelta]) -> Mapping[str, timedelta]:
        for name, time in value.items():
            if name not in CLASSES:
                raise InvalidArgument.of(name, time, f"the time of a class: {', '.join(CLASSES)}")
            if time < timedelta():
                raise InvalidArgument.of(name, time, ">= 0")
        return value

    @field_validator("quotas")
    @classmethod
    def _together(cls, value: tuple[QuotaSettings, ...]) -> tuple[QuotaSettings, ...]:
        check_together(value)
        return value

    @property
    def plan(self) -> QueryPlan:
        """How the query picks."""
        gap_s = self.gap.total_seconds()
        return QueryPlan(
            strategy=self.strategy,
            shortlist=self.shortlist,
            class_floor=self.class_floor,
            gap_s=gap_s,
            gap_m=self.gap_m,
            max_distance=self.max_distance,
            power=self.power,
            chance=self.chance,
            reach=self.reach,
            fold=self.fold,
            quotas=tuple(quota.quota for quota in self.quotas),
        )

    @property
    def labelling_cost(self) -> LabellingCost:
        """What a label costs."""
        times = [self.class_times.get(name, self.box_time).total_seconds() for name in CLASSES]
        frame_s, box_s = self.frame_time.total_seconds(), self.box_time.total_seconds()
        return LabellingCost(frame_s, box_s, tuple(times), self.sparse_points, self.sparse_factor)
