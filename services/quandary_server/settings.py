"""All settings; the one module that reads the environment.

Sources, the later over the earlier: the defaults here, a TOML file (QUANDARY_CONFIG), environment variables
(QUANDARY_SCORING__PORT=9700), arguments. An unknown name or a value out of bounds is refused.
"""

import json
import os
import tomllib
from collections.abc import Mapping, Sequence
from datetime import timedelta
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_serializer,
    field_validator,
    model_validator,
)
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
    TomlConfigSettingsSource,
)

from quandary.errors import InvalidArgument, Violation, shortened
from quandary.labels import CLASSES
from quandary.options import Acquisition, Estimator, Reduction, ScoringOptions
from quandary_server.detector.settings import FitSettings, NetSettings
from quandary_server.inference.provider import Provider
from quandary_server.leasing.bands import PASSED_OVER_AT_MOST
from quandary_server.selection.cost import LabellingCost
from quandary_server.selection.plan import QueryPlan, Strategy
from quandary_server.storage.log_settings import KafkaSettings, LogKind, McapSettings

if TYPE_CHECKING:
    import grpc

    from quandary_server.storage import Store
    from quandary_server.storage.options import StoreOptions

Port = Annotated[int, Field(ge=1, le=65_535)]
Share = Annotated[float, Field(ge=0, le=1)]

PREFIX = "QUANDARY_"
CONFIG_VARIABLE = "QUANDARY_CONFIG"
NO_SETTINGS = (CONFIG_VARIABLE, "QUANDARY_KITTI", "QUANDARY_VENV")
"""Variables of our prefix that are no settings: this file's, the tests' and deploy/local.py's."""
SECTIONS = ("tls", "store", "ray", "scoring", "selector", "trainer")


class Section(BaseModel):
    """Base of all sections: frozen, nothing unknown."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class TlsSettings(Section):
    """TLS towards a service, as the front in deploy/envoy wants it. Nothing set: plain text."""

    ca: Path | None = Field(default=None, description="PEM file of the authorities that its certificate may come from")
    certificate: Path | None = Field(default=None, description="PEM file of our certificate, with its chain")
    key: Path | None = Field(default=None, description="PEM file of its private key")

    @model_validator(mode="after")
    def _pair(self) -> Self:
        if (self.certificate is None) != (self.key is None) or (self.key and not self.ca):
            raise ValueError("ca alone, or ca, certificate and key")
        return self

    def credentials(self) -> "grpc.ChannelCredentials | None":
        """Return what a client wants for TLS, None for plain text; the files are read now. Raises InvalidArgument."""
        from quandary.connection import tls_credentials  # gRPC is for who connects, not for who reads settings

        return None if self.ca is None else tls_credentials(self.ca, self.certificate, self.key)


class StoreSettings(Section):
    """The database of queues, labels, runs and audit."""

    url: SecretStr = Field(
        default=SecretStr(""),
        description="postgresql://USER@HOST/DATABASE or sqlite:///PATH; empty: the file quandary.db of the data directory",
    )
    upgrade: bool | None = Field(
        default=None, description="bring its schema up to date at the start; None: SQLite yes, PostgreSQL no"
    )
    connections: int = Field(default=16, ge=2, le=1000, description="connections to PostgreSQL at most, of each process")
    lock_timeout: timedelta = Field(
        default=timedelta(seconds=30), ge=timedelta(milliseconds=100), description="how long a call waits for other writers"
    )
    statement_timeout: timedelta = Field(
        default=timedelta(minutes=2), ge=timedelta(seconds=1), description="how long a statement of PostgreSQL may take"
    )

    @field_serializer("url", when_used="json")
    def _as_it_is(self, url: SecretStr) -> str:
        return url.get_secret_value()  # JSON is for another process: see Settings.environment

    def options(self) -> "StoreOptions":
        """Return how the store uses its database."""
        from quandary_server.storage.options import StoreOptions  # SQLAlchemy is for who opens it

        return StoreOptions(self.upgrade, self.connections, self.lock_timeout, self.statement_timeout)


class RaySettings(Section):
    """The Ray cluster that scoring and trainer use."""

    address: str = Field(default="", description="host:port of a cluster; empty: start one on this machine")
    cpus: int | None = Field(default=None, ge=1, description="CPUs of the one started here; None: all there are")


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


DEFAULT_PLAN = QueryPlan(Strategy.COVER, shortlist=3.0, class_floor=0.3, gap_s=1.0, gap_m=10.0, chance=0.5, fold=True)
"""How a query picks unless told otherwise: half by what its objects tell that none before it shows, half by chance, with near
copies folded: frames of a drive within a second and ten metres."""


class QuerySettings(Section):
    """What is asked for next."""

    strategy: Strategy = Field(default=DEFAULT_PLAN.strategy, description="what makes a frame be asked for before another")
    shortlist: float = Field(
        default=DEFAULT_PLAN.shortlist, ge=1, allow_inf_nan=False, description="for diverse and cover: candidates per pick"
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
        description="metres that the car moves between two picks of a drive within the gap, where its poses are known; None: "
        "the gap holds however far",
    )
    fold: bool = Field(default=DEFAULT_PLAN.fold, description="near copies of picks wait folded under them, not leased besides")
    max_distance: float | None = Field(
        default=DEFAULT_PLAN.max_distance,
        ge=0,
        le=2,
        description="cosine distance below which frames within the gap are near copies; None: all are",
    )
    power: float = Field(default=DEFAULT_PLAN.power, ge=0, allow_inf_nan=False, description="for power: of the score")
    chance: Share = Field(default=DEFAULT_PLAN.chance, description="share drawn by chance, in proportion to expected objects")
    picked: int = Field(default=200, ge=1, description="tasks that a query ranks at most")
    refill_below: int = Field(default=50, ge=1, description="a new query runs when fewer ranked tasks wait")
    budget: timedelta | None = Field(
        default=None,
        ge=timedelta(),
        description="labelling work that a query ranks at most, a first frame always; None: no limit",
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

    @field_validator("class_times")
    @classmethod
    def _of_classes(cls, value: Mapping[str, timedelta]) -> Mapping[str, timedelta]:
        for name, time in value.items():
            if name not in CLASSES:
                raise ValueError(f"{name} is no class, the classes are {', '.join(CLASSES)}")
            if time < timedelta():
                raise ValueError(f"{name} takes {time}, must be >= 0")
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
        )

    @property
    def labelling_cost(self) -> LabellingCost:
        """What a label costs."""
        times = [self.class_times.get(name, self.box_time).total_seconds() for name in CLASSES]
        frame_s, box_s = self.frame_time.total_seconds(), self.box_time.total_seconds()
        return LabellingCost(frame_s, box_s, tuple(times), self.sparse_points, self.sparse_factor)


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
        default=timedelta(seconds=10), gt=timedelta(), description="silence after which a member's share goes to the others"
    )
    batch: int = Field(default=64, ge=1, le=10_000, description="records applied in one transaction")
    in_flight: int = Field(default=8, ge=1, le=256, description="frames being read and scored at once")
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

    @model_validator(mode="after")
    def _scorable(self) -> Self:
        self.scoring_options()
        return self

    @model_validator(mode="after")
    def _brokers(self) -> Self:
        if self.log_kind is LogKind.KAFKA and not self.kafka.servers:
            raise ValueError("kafka.servers are missing, which log_kind kafka needs")
        return self

    def scoring_options(self) -> ScoringOptions:
        """Return how the selector has frames scored."""
        return ScoringOptions(
            self.estimator,
            self.acquisition,
            self.reduction,
            mc_samples=self.mc_samples,
            escalate_share=self.escalate_share,
            jittered_proposals=self.jittered_proposals,
            include_embedding=self.query.plan.needs_embeddings or self.query.plan.needs_objects,
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
    min_crops: int = Field(default=50, ge=2, description="labelled crops below which a run is refused")
    poll: timedelta = Field(
        default=timedelta(seconds=1), ge=timedelta(milliseconds=1), description="how often the labels are counted"
    )
    promote_timeout: timedelta = Field(default=timedelta(seconds=60), description="wait for all replicas")
    nll_floor: float = Field(default=3.0, gt=0, description="a candidate whose NLL on control drives exceeds it is refused")


class Settings(BaseSettings):
    """Everything that can be set."""

    model_config = SettingsConfigDict(
        frozen=True, extra="forbid", env_prefix=PREFIX, env_nested_delimiter="__", nested_model_default_partial_update=True
    )

    data: Path = Field(default=Path("quandary-data"), description="directory of all state")
    token: SecretStr = Field(default=SecretStr(""), description="bearer token of the commands; empty: the admin's of the data")
    target: str = Field(default="", description="host:port of a front that the commands call; empty: each service's own")
    tls: TlsSettings = TlsSettings()
    store: StoreSettings = StoreSettings()
    ray: RaySettings = RaySettings()
    scoring: ScoringSettings = ScoringSettings()
    selector: SelectorSettings = SelectorSettings()
    trainer: TrainerSettings = TrainerSettings()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Read arguments, then the environment, then the file."""
        _check_environment(os.environ)
        file = os.environ.get(CONFIG_VARIABLE)
        if file and not Path(file).is_file():
            raise InvalidArgument.of(CONFIG_VARIABLE, file, "a TOML file")
        try:
            from_file = TomlConfigSettingsSource(settings_cls, Path(file) if file else None)
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise InvalidArgument.of(CONFIG_VARIABLE, file, f"a TOML file: {error}") from None
        return init_settings, env_settings, from_file

    def environment(self) -> dict[str, str]:
        """Return the environment variables from which another process loads these settings."""
        sections = {f"QUANDARY_{name.upper()}": getattr(self, name).model_dump_json() for name in SECTIONS}
        own = {"DATA": str(self.data.resolve()), "TOKEN": self.token.get_secret_value(), "TARGET": self.target}
        return {**{f"{PREFIX}{name}": value for name, value in own.items()}, **sections}

    @property
    def scoring_target(self) -> str:
        """host:port of the scoring service, as the selector calls it."""
        return self.selector.scoring_target or f"{self.scoring.host}:{self.scoring.port}"

    @property
    def member_deployments(self) -> int:
        """Deployments that hold one member each, in the spread topology."""
        return self.scoring.spread.members or self.trainer.members

    @property
    def registry(self) -> Path:
        """Directory of the registry."""
        return self.data / "registry"

    @property
    def database(self) -> Path:
        """File of the store, unless it is elsewhere."""
        return self.data / "quandary.db"

    @property
    def store_place(self) -> str | Path:
        """Path or URL of the store."""
        return self.store.url.get_secret_value() or self.database

    def open_store(self) -> "Store":
        """Open the store. Raises as `Store.open` does."""
        from quandary_server.storage import Store  # SQLAlchemy is for who opens it

        return Store.open(
            self.store_place,
            max_failed_leases=self.selector.max_failed_leases,
            passed_over_at_most=self.selector.passed_over_at_most,
            options=self.store.options(),
        )

    @property
    def fleet_log(self) -> Path:
        """File of the fleet log."""
        return self.data / f"{self.selector.log}.log.db"

    @property
    def mcap_directory(self) -> Path:
        """Directory of the fleet log's MCAP files."""
        return self.selector.mcap.directory or self.data / f"{self.selector.log}.mcap"

    @property
    def tokens(self) -> Path:
        """File of the bearer tokens."""
        return self.data / "tokens.json"

    @property
    def snapshots(self) -> Path:
        """Directory of the label snapshots."""
        return self.data / "snapshots"


def load_settings(**arguments: object) -> Settings:
    """Return the settings of all sources; raises InvalidArgument naming field, value and bound."""
    try:
        return Settings(**arguments)  # type: ignore[arg-type]
    except ValidationError as error:
        raise refused(error, Settings) from None
    except SettingsError as error:
        raise InvalidArgument(f"the environment cannot be read: {error}: {error.__cause__}") from None


def refused(error: ValidationError, model: type[BaseModel] | None = None) -> InvalidArgument:
    """Return what pydantic refused as InvalidArgument, naming each field with its value and bound.

    model: what was to be made; with it an unknown name is told beside those that there are.
    """
    found: list[Violation] = []
    for e in error.errors():
        path, inner = ".".join(map(str, e["loc"])), e.get("ctx", {}).get("error")
        if isinstance(inner, InvalidArgument):
            # a check of several fields names the one itself
            found += (inner.moved_under(path) if path else inner).violations
        elif e["type"] == "extra_forbidden" and model and (names := _beside(e["loc"], model)):
            found.append(Violation(path, "no setting", f"one of {', '.join(names)}"))
        else:
            found.append(Violation(path, shortened(e.get("input")), _bound(e["msg"])))
    return InvalidArgument.all(found)


def _beside(path: Sequence[int | str], section: type[BaseModel]) -> list[str]:
    """Return the names that there are where the last of a path is; none where that is not told by types."""
    for name in path[:-1]:
        field = section.model_fields.get(str(name))
        inner = field.annotation if field else None
        if not (isinstance(inner, type) and issubclass(inner, BaseModel)):
            return []
        section = inner
    return list(section.model_fields)


def _check_environment(environment: Mapping[str, str]) -> None:
    """Raise InvalidArgument for a variable of our prefix that names no setting, and for one that is to be JSON and is not."""
    known = (*NO_SETTINGS, *(f"{PREFIX}{name.upper()}" for name in Settings.model_fields))
    for variable, value in environment.items():
        name = variable.upper()
        head, nested, _ = name.partition("__")
        section = head.removeprefix(PREFIX).lower() in SECTIONS
        if not name.startswith(PREFIX):
            continue
        if head not in known or (nested and not section):
            raise InvalidArgument.of(variable, "no setting", f"one of {', '.join(known)}; {PREFIX}<SECTION>__<NAME>")
        if section and (not nested or value.startswith(("[", "{"))):
            _check_json(variable, value)


def _check_json(variable: str, value: str) -> None:
    try:
        json.loads(value)
    except (ValueError, RecursionError):
        raise InvalidArgument.of(variable, value, "JSON") from None


def _bound(message: str) -> str:
    for start in ("Input should be ", "Value error, "):
        message = message.removeprefix(start)
    return message
