"""The section of the scoring service."""

from datetime import timedelta
from enum import StrEnum
from typing import Self

from pydantic import Field, ValidationInfo, field_validator, model_validator

from quandary.errors import InvalidArgument
from quandary_server.inference.provider import Provider
from quandary_server.settings.section import Port, Section

__all__ = ["AutoscalingSettings", "BatchingSettings", "ScoringSettings", "SpreadSettings", "Topology"]


class Topology(StrEnum):
    """Where the members of a generation are."""

    PACKED = "packed"
    SPREAD = "spread"


class SpreadSettings(Section):
    """The deployments of the spread topology: one for each member, one for SOFTMAX and MC_DROPOUT, the ingress before them."""

    members: int | None = Field(
        default=None, ge=1, le=32, description="members that a generation may have; None: as many as trainer.members"
    )
    member_replicas: int = Field(default=1, ge=1, le=1000, description="replicas of each member's deployment")
    mc_dropout_replicas: int = Field(default=1, ge=1, le=1000, description="replicas of the deployment for one member alone")
    in_flight: int = Field(default=4, ge=1, le=64, description="requests at the members at once, by replica that answers")


class AutoscalingSettings(Section):
    """How the replicas of every scoring deployment follow the work."""

    max_replicas: int | None = Field(default=None, ge=1, le=1000, description="most replicas; None: always as many as set")
    target_busy: float = Field(default=0.7, gt=0, le=1, description="share of its time that a replica is to work")
    window: timedelta = Field(default=timedelta(seconds=20), gt=timedelta(), description="over which the work is averaged")
    report: timedelta = Field(default=timedelta(seconds=4), gt=timedelta(), description="how often replicas report their work")
    upscale_delay: timedelta = Field(default=timedelta(seconds=10), ge=timedelta(), description="more work than that long")
    downscale_delay: timedelta = Field(default=timedelta(minutes=5), ge=timedelta(), description="less work than that long")


class BatchingSettings(Section):
    """What of one kind waits in a replica at the same time is computed as one: it pays on GPUs."""

    enabled: bool | None = Field(default=None, description="None: where a replica computes on a GPU")
    max_requests: int = Field(default=32, ge=2, le=1024, description="parts of requests in a batch at most")
    max_crops: int = Field(
        default=128,
        ge=8,
        le=4096,
        description="crops of a batch at most; on a GPU every run has as many, the last ones blank",
    )
    window: timedelta = Field(
        default=timedelta(),
        ge=timedelta(),
        le=timedelta(seconds=1),
        description="how long an idle replica waits for more first",
    )


class ScoringSettings(Section):
    """The scoring service."""

    host: str = Field(default="127.0.0.1", description="interface of the ingress")
    port: Port = Field(default=9700, description="gRPC")
    http_port: Port = Field(default=9710, description="Serve's own HTTP ingress: /-/healthz")
    metrics_port: Port = Field(default=9720, description="Prometheus, served by Ray's agent")
    topology: Topology = Field(default=Topology.PACKED, description="packed: every replica holds all members; spread: one each")
    replicas: int = Field(default=1, ge=1, le=1000, description="replicas of what answers calls; the fewest with autoscaling")
    replica_cpus: float = Field(default=0.0, ge=0, description="CPUs that Ray reserves for a replica")
    replica_gpus: float = Field(
        default=0.0, ge=0, le=1, description="share of a GPU that Ray reserves for a replica that holds members; it uses one"
    )
    spread: SpreadSettings = SpreadSettings()
    autoscaling: AutoscalingSettings = AutoscalingSettings()
    provider: Provider = Field(
        default=Provider.AUTO, description="where ONNX Runtime computes; auto: on the GPU where replica_gpus reserves one"
    )
    batching: BatchingSettings = BatchingSettings()
    poll: timedelta = Field(
        default=timedelta(milliseconds=250), ge=timedelta(milliseconds=1), description="how often a replica reads the pointer"
    )
    max_frames: int = Field(default=256, ge=1, description="frames per request")
    max_proposals: int = Field(default=256, ge=1, description="proposals per frame")
    max_crops: int = Field(default=4096, ge=1, description="crops per request")
    max_points: int = Field(default=500_000, ge=1, description="points per frame")
    max_message_bytes: int = Field(default=64 << 20, ge=1 << 16, description="bytes per message")
    queue_service_times: float = Field(
        default=2.0, ge=0, le=1000, description="how long a call may wait in a replica, in times that it takes itself"
    )
    least_queue: timedelta = Field(
        default=timedelta(milliseconds=5), ge=timedelta(), description="how long a call may wait whatever it takes itself"
    )
    stream_window: int = Field(default=64, ge=1, le=900, description="frames of one stream in work at once")
    stream_bytes: int = Field(
        default=256 << 20, ge=1, description="bytes of frames in work at once over all streams; each may have one"
    )

    @field_validator("provider")
    @classmethod
    def _where_gpus_are_reserved(cls, provider: Provider, info: ValidationInfo) -> Provider:
        gpus = info.data.get("replica_gpus", 0.0)
        if provider is Provider.CUDA and not gpus:
            raise ValueError("auto or cpu where replica_gpus is 0: a replica computes on the GPU that Ray reserves for it")
        if provider is Provider.CPU and gpus:
            raise ValueError(f"auto or cuda where replica_gpus is {gpus:g}: on the CPU that GPU would be idle")
        return provider

    @model_validator(mode="after")
    def _room_to_grow(self) -> Self:
        most = self.autoscaling.max_replicas
        fewest = {"replicas": self.replicas}
        if self.topology is Topology.SPREAD:
            fewest |= {f"spread.{name}": getattr(self.spread, name) for name in ("member_replicas", "mc_dropout_replicas")}
        for name, replicas in fewest.items():
            if most is not None and replicas > most:
                raise InvalidArgument.of(name, replicas, f"at most autoscaling.max_replicas, {most}")
        return self
