"""The section of the trainer service."""

from datetime import timedelta

from pydantic import Field

from quandary_server.detector.settings import FitSettings, NetSettings
from quandary_server.settings.gates import GateSettings
from quandary_server.settings.promotion import PromotionPolicy, ShadowSettings, WatchSettings
from quandary_server.settings.section import Port, Section, Share

__all__ = ["DriftSettings", "TrainerSettings"]


class DriftSettings(Section):
    """When the scores of incoming frames count as drifted from those of the first frames after a promotion."""

    psi: float = Field(
        default=0.25, ge=0, le=10, description="population stability index, in nats, from which on a run is started; 0: never"
    )
    p_value: float = Field(
        default=0.01, gt=0, le=1, description="at most so often may an exchange of whole drives give as large an index"
    )
    frames: int = Field(default=200, ge=50, le=10_000, description="frames compared, on each side; fewer tell nothing")
    min_drives: int = Field(default=8, ge=6, le=1000, description="drives on each side; few have few exchanges")
    every: timedelta = Field(
        default=timedelta(minutes=1), ge=timedelta(seconds=0), description="how often the scores are looked at"
    )


class TrainerSettings(Section):
    """The trainer service."""

    host: str = Field(default="127.0.0.1", description="interface of gRPC and metrics")
    port: Port = Field(default=9702, description="gRPC")
    metrics_port: Port = Field(default=9722, description="Prometheus")
    members: int = Field(default=5, ge=1, le=32, description="members of a generation")
    net: NetSettings = NetSettings()
    fit: FitSettings = FitSettings()
    new_crops: int = Field(default=200, ge=0, description="newly labelled crops that start a run; 0: only calls do")
    interval: timedelta = Field(
        default=timedelta(),
        ge=timedelta(),
        description="time since the end of the last run after which new labels, be they few, start a run; 0: never",
    )
    drift: DriftSettings = DriftSettings()
    min_crops: int = Field(default=50, ge=2, description="labelled crops below which a run is refused")
    max_unreadable: Share = Field(
        default=0.5,
        description="share of labelled frames, control ones or others, whose clouds may be gone; above it a run is refused",
    )
    poll: timedelta = Field(
        default=timedelta(seconds=1),
        ge=timedelta(milliseconds=1),
        le=timedelta(hours=1),
        description="how often the labels are counted",
    )
    checkpoint_every: timedelta = Field(
        default=timedelta(seconds=2),
        ge=timedelta(milliseconds=1),
        le=timedelta(minutes=10),
        description="training of a member between two checkpoints, at most: what a crash costs",
    )
    lost_after: timedelta = Field(
        default=timedelta(seconds=10),
        ge=timedelta(milliseconds=100),
        le=timedelta(hours=1),
        description="silence after which a run's trainer is taken for dead; the same for all trainers of a store",
    )
    resumptions: int = Field(
        default=3, ge=0, le=100, description="how often a run whose trainer died is resumed before it fails; 0: never"
    )
    promote_timeout: timedelta = Field(
        default=timedelta(seconds=60), ge=timedelta(), le=timedelta(hours=1), description="wait for all replicas"
    )
    promotion: PromotionPolicy = Field(
        default=PromotionPolicy.AUTO, description="of runs: auto promotes, ask waits for a person, off only registers"
    )
    shadow: ShadowSettings = ShadowSettings()
    watch: WatchSettings = WatchSettings()
    gates: GateSettings = GateSettings()
