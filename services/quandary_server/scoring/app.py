"""The Serve application: in the `packed` topology one deployment, in `spread` one per member behind the one that answers."""

from typing import Any

from ray import serve
from ray.serve.config import AutoscalingConfig, AutoscalingPolicy

from quandary_server.auth import ensure_tokens
from quandary_server.registry.place import RegistryPlace
from quandary_server.scoring.ingress import ScoringIngress
from quandary_server.scoring.member_replica import MemberReplica
from quandary_server.scoring.scaling import ByBusyShare
from quandary_server.settings import AutoscalingSettings, ScoringSettings, Settings, Topology, load_settings

APPLICATION = "quandary"
INGRESS = "Scoring"
MC_DROPOUT = "McDropout"

BACKSTOP_ONGOING = 10_000
"""An open stream holds one of Serve's ongoing requests all its life, so that is no measure of work: the engine admits."""

MEMBER_ONGOING = 16
"""Calls that a member's replica takes at once; what waits beyond that waits in the ingress, where it can be dropped."""


def application(
    settings: Settings, ingress: type[ScoringIngress] = ScoringIngress, member: type[MemberReplica] = MemberReplica
) -> serve.Application:
    """Return the Serve application of the settings; `ingress` is what answers its calls, `member` what holds one member."""
    scoring, registry, tokens = settings.scoring, settings.registry_place, settings.tokens.resolve()
    members, first = _members(scoring, registry, settings.member_deployments, member)
    gpus = scoring.replica_gpus if scoring.topology is Topology.PACKED else 0.0
    deployment = _deployment(ingress, INGRESS, scoring, scoring.replicas, BACKSTOP_ONGOING, gpus)
    bound: serve.Application = deployment.bind(scoring, registry, tokens, members, first)
    return bound


def from_config(arguments: dict[str, Any]) -> serve.Application:
    """Return the application of a Serve config file (deploy/serve.yaml): its arguments are settings, over the environment's."""
    settings = load_settings(**arguments)
    prepare_data(settings)
    return application(settings)


def prepare_data(settings: Settings) -> None:
    """Make what the replicas need of the data directory, where it is missing."""
    ensure_tokens(settings.tokens)
    settings.open_registry()


def member_deployment(index: int) -> str:
    """Return the name of a member's deployment."""
    return f"Member{index}"


def _members(
    scoring: ScoringSettings, registry: RegistryPlace, deployed: int, member: type[MemberReplica]
) -> tuple[list[serve.Application], serve.Application | None]:
    """Return the deployments of each member, and of the first for what needs no other; none in the packed topology."""
    if scoring.topology is Topology.PACKED:
        return [], None

    def bound(name: str, index: int, replicas: int) -> serve.Application:
        deployment = _deployment(member, name, scoring, replicas, MEMBER_ONGOING, scoring.replica_gpus)
        application: serve.Application = deployment.bind(scoring, registry, index, deployed, INGRESS)
        return application

    spread = scoring.spread
    each = [bound(member_deployment(k), k, spread.member_replicas) for k in range(deployed)]
    return each, bound(MC_DROPOUT, 0, spread.mc_dropout_replicas)


def _deployment(
    replica: type, name: str, scoring: ScoringSettings, replicas: int, ongoing: int, gpus: float
) -> serve.Deployment:
    most = scoring.autoscaling.max_replicas
    made: serve.Deployment = serve.deployment(
        name=name,
        num_replicas=replicas if most is None else None,
        autoscaling_config=None if most is None else _autoscaling(scoring.autoscaling, replicas, most),
        max_ongoing_requests=ongoing,
        ray_actor_options={"num_cpus": scoring.replica_cpus, "num_gpus": gpus},
        graceful_shutdown_timeout_s=5,
        health_check_period_s=5,
    )(replica)
    return made


def _autoscaling(settings: AutoscalingSettings, fewest: int, most: int) -> AutoscalingConfig:
    policy = AutoscalingPolicy(  # type: ignore[no-untyped-call]
        policy_function=f"{ByBusyShare.__module__}:{ByBusyShare.__name__}", policy_kwargs={"target": settings.target_busy}
    )
    return AutoscalingConfig(
        min_replicas=fewest,
        max_replicas=most,
        # Ray 2.60 calls it deprecated, and reads nothing yet of what it names in its place
        metrics_interval_s=settings.report.total_seconds(),
        look_back_period_s=settings.window.total_seconds(),
        upscale_delay_s=settings.upscale_delay.total_seconds(),
        downscale_delay_s=settings.downscale_delay.total_seconds(),
        policy=policy,
    )
