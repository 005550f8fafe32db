"""The section of the trainer service."""

from datetime import timedelta

from pydantic import Field

from quandary_server.detector.settings import FitSettings, NetSettings
from quandary_server.settings.gates import GateSettings
from quandary_server.settings.promotion import PromotionPolicy, ShadowSettings, WatchSettings
from quandary_server.settings.section import Port, Section

__all__ = ["TrainerSettings"]


class TrainerSettings(Section):
    """The trainer service."""

    host: str = Field(default="127.0.0.1", description="interface of gRPC and metrics")
    port: Port = Field(default=9702, description="gRPC")
    metrics_port: Port = Field(default=9722, description="Prometheus")
    members: int = Field(default=5, ge=1, le=32, description="members of a generation")
    net: NetSettings = NetSettings()
    fit: FitSettings = FitSettings()
    new_crops: int = Field(default=200, ge=0, description="newly labelled crops that start a run; 0: only calls do")
    min_crops: int = Field(default=50, ge=2, description="labelled crops below which a run is refused")
    poll: timedelta = Field(
        default=timedelta(seconds=1), ge=timedelta(milliseconds=1), description="how often the labels are counted"
    )
    promote_timeout: timedelta = Field(default=timedelta(seconds=60), description="wait for all replicas")
    promotion: PromotionPolicy = Field(
        default=PromotionPolicy.AUTO, description="of runs: auto promotes, ask waits for a person, off only registers"
    )
    shadow: ShadowSettings = ShadowSettings()
    watch: WatchSettings = WatchSettings()
    gates: GateSettings = GateSettings()
