"""What the settings say of GPUs: where replicas compute, whether they batch, and whether a cluster has what they reserve."""

from quandary.errors import InvalidArgument, within
from quandary_server.inference.cuda import open_device
from quandary_server.inference.device import Device
from quandary_server.scoring.batch import BatchLimit
from quandary_server.settings import ScoringSettings, Settings, Topology

LONGEST_BATCH_S = 0.1
"""What others may have to wait for; a part of a request that takes longer is computed by itself."""


def device_of(settings: ScoringSettings) -> Device:
    """Return where this process, a replica that holds members, computes; raises InvalidArgument as `open_device` does."""
    with within("scoring"):
        return open_device(settings.provider, settings.batching.max_crops, gpu_reserved=settings.replica_gpus > 0)


def batch_limit_of(settings: ScoringSettings, device: Device) -> BatchLimit | None:
    """Return how much is computed as one on a device; None: nothing is."""
    batching = settings.batching
    if not (device.batches if batching.enabled is None else batching.enabled):
        return None
    return BatchLimit(batching.max_requests, batching.max_crops, batching.window.total_seconds(), LONGEST_BATCH_S)


def gpus_wanted(settings: Settings) -> float:
    """Return how many GPUs the replicas reserve together; with autoscaling the fewest replicas."""
    scoring = settings.scoring
    holding = scoring.replicas
    if scoring.topology is Topology.SPREAD:
        holding = settings.member_deployments * scoring.spread.member_replicas + scoring.spread.mc_dropout_replicas
    return holding * scoring.replica_gpus


def check_gpus(settings: Settings, there: float) -> None:
    """Raise InvalidArgument where replicas reserve more GPUs than there are: Ray would wait for them without end."""
    wanted = gpus_wanted(settings)
    if wanted > there:
        bound = f"at most what Ray has: {there:g} GPUs, and the replicas reserve {wanted:g} together"
        raise InvalidArgument.of("scoring.replica_gpus", settings.scoring.replica_gpus, bound)
