"""The section of the selector service."""

from datetime import timedelta
from pathlib import Path
from typing import Self

from pydantic import Field, model_validator

from quandary.errors import InvalidArgument
from quandary.options import Acquisition, Estimator, Reduction, ScoringOptions
from quandary_server.leasing.bands import PASSED_OVER_AT_MOST
from quandary_server.settings.common import TlsSettings
from quandary_server.settings.query import QuerySettings
from quandary_server.settings.queues import QueueSettings, check_names
from quandary_server.settings.section import Port, Section, Share
from quandary_server.storage.log_settings import KafkaSettings, LogKind, McapSettings

__all__ = ["SelectorSettings"]

MAX_QUEUES = 32
"""Each is looked at in every `poll`, and is a label of metrics."""


class SelectorSettings(Section):
    """The selector service."""

    host: str = Field(default="127.0.0.1", description="interface of gRPC and metrics")
    port: Port = Field(default=9701, description="gRPC")
    metrics_port: Port = Field(default=9721, description="Prometheus")
    scoring_target: str = Field(default="", description="host:port of the scoring service; empty: as set under scoring")
    scoring_token_file: Path | None = Field(
        default=None, description="file of the bearer token for scoring, read at every call; None: the admin's of the data"
    )
    scoring_tls: TlsSettings = TlsSettings()
    log: str = Field(default="fleet", description="name of the fleet log; its file is <data>/<name>.log.db")
    log_kind: LogKind = Field(default=LogKind.SQLITE, description="what holds the fleet log")
    log_partitions: int = Field(
        default=1, ge=1, le=256, description="for sqlite, when the log is made: parts that selectors can share"
    )
    mcap: McapSettings = McapSettings()
    kafka: KafkaSettings = KafkaSettings()
    group: str = Field(default="quandary", min_length=1, description="selectors of one group and store share the log")
    member: str = Field(default="", description="name in the group, the same after a restart; empty: <hostname>:<port>")
    member_lasts: timedelta = Field(
        default=timedelta(seconds=10),
        gt=timedelta(),
        description="silence after which others take its share, and the ranking",
    )
    batch: int = Field(default=64, ge=1, le=10_000, description="records applied in one transaction")
    in_flight: int = Field(default=8, ge=1, le=256, description="frames being read and scored at once")
    readers: int = Field(
        default=2, ge=1, le=64, description="threads that read and crop clouds; more for clouds on slow storage"
    )
    poll: timedelta = Field(
        default=timedelta(milliseconds=200), ge=timedelta(milliseconds=1), description="how often an empty log is read"
    )
    estimator: Estimator = Estimator.ENSEMBLE_MC_DROPOUT
    acquisition: Acquisition = Acquisition.INFORMATION_AND_BOX
    reduction: Reduction = Reduction.MEAN
    mc_samples: int = Field(default=20, ge=2, le=200)
    escalate_share: float = Field(
        default=0.2, gt=0, le=1, description="for escalate: share of the control crops that would get the full answer"
    )
    jittered_proposals: int = Field(default=0, ge=0, le=32, description="jittered proposals per object; stability needs them")
    control_share: Share = Field(default=0.1, description="share of new drives kept for control labels, by a hash of their id")
    control_drives: tuple[str, ...] = Field(default=(), description="new drives that are control drives whatever their hash")
    shuffle_seed: int = Field(default=0, ge=0, description="seed of the order of unscored frames, and of queries by chance")
    max_failed_leases: int = Field(default=5, ge=1, description="expired leases after which a task is dead-lettered")
    passed_over_at_most: int = Field(
        default=PASSED_OVER_AT_MOST, ge=1, le=10_000, description="leases that may pass a waiting band over before it gets one"
    )
    query: QuerySettings = QuerySettings()
    queues: tuple[QueueSettings, ...] = Field(
        default=(),
        max_length=MAX_QUEUES,
        description="queues beside active and control; a new frame goes to the first that takes it, else to active",
    )

    @model_validator(mode="after")
    def _named_once(self) -> Self:
        check_names(self.queues)
        return self

    @model_validator(mode="after")
    def _scorable(self) -> Self:
        self.scoring_options()
        return self

    @model_validator(mode="after")
    def _brokers(self) -> Self:
        if self.log_kind is LogKind.KAFKA and not self.kafka.servers:
            raise InvalidArgument.of("kafka.servers", "missing", "host:port, for log_kind kafka")
        return self

    def query_of(self, queue: str) -> QuerySettings:
        """Return how a queue is asked; one that is not set here, as it was once, is asked as active is."""
        mine = next((found for found in self.queues if found.name == queue), None)
        return self.query if mine is None else mine.query_over(self.query)

    def scoring_options(self) -> ScoringOptions:
        """Return how the selector has frames scored."""
        plans = [self.query.plan, *(self.query_of(queue.name).plan for queue in self.queues)]
        return ScoringOptions(
            self.estimator,
            self.acquisition,
            self.reduction,
            mc_samples=self.mc_samples,
            escalate_share=self.escalate_share,
            jittered_proposals=self.jittered_proposals,
            include_embedding=any(plan.needs_embeddings or plan.needs_objects for plan in plans),
        )
