"""The settings of a generation's way to current: shadow, promotion, watch."""

from datetime import timedelta
from enum import StrEnum

from pydantic import Field

from quandary_server.settings.section import Section, Share

__all__ = ["PromotionPolicy", "ShadowSettings", "WatchSettings"]


class PromotionPolicy(StrEnum):
    """What becomes of a candidate that no gate refused: a run promotes it, leaves it to a person, or only registers it."""

    AUTO = "auto"
    ASK = "ask"
    OFF = "off"


class ShadowSettings(Section):
    """The candidate beside the current generation on recent frames; a bound of None is none: the figure is reported."""

    frames: int = Field(default=200, ge=0, le=10_000, description="newest scored frames that both score; 0: no shadow")
    min_frames: int = Field(default=20, ge=5, description="with fewer of them nothing is told")
    min_rank_correlation: float | None = Field(
        default=None, ge=-1, le=1, description="Spearman's, of the frame scores; below it a run does not promote"
    )
    min_top_overlap: float | None = Field(
        default=None, ge=0, le=1, description="share of the current generation's top tenth that is in the candidate's"
    )


class WatchSettings(Section):
    """After a promotion: how long the live figures are watched, and how far they may fall before it is rolled back."""

    duration: timedelta = Field(
        default=timedelta(minutes=10), ge=timedelta(), le=timedelta(hours=24), description="how long; 0: no watch"
    )
    min_answers: int = Field(default=200, ge=20, description="answers of a generation below which its figures tell nothing")
    max_more_errors: Share = Field(
        default=0.02, description="share of answers that may fail beyond that of the generation before (99 % certain)"
    )
    max_latency_ratio: float = Field(default=3.0, ge=1, description="median latency over that of the generation before")
    latency_slack: timedelta = Field(
        default=timedelta(milliseconds=50), ge=timedelta(), description="what the median may grow by whatever the ratio is"
    )
    max_score_distance: Share = Field(
        default=0.9, description="distance (Kolmogorov-Smirnov) of the frame scores from those before; 1: not watched"
    )
    quality_level: float = Field(
        default=0.99, ge=0.8, lt=1, description="certainty that new control labels are answered worse than by the one before"
    )
    control_frames: int = Field(default=400, ge=0, le=10_000, description="newest labelled control frames that are judged")
