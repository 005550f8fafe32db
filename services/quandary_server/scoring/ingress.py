"""A replica of what answers the calls."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ray import serve
from ray.serve.handle import DeploymentHandle

from quandary.options import ScoringOptions
from quandary_server.allocation import collect_only_what_is_new
from quandary_server.auth import Keyring
from quandary_server.clock import now
from quandary_server.inference.generation import Generation
from quandary_server.registry.directory import Registry
from quandary_server.registry.place import RegistryPlace
from quandary_server.scoring.admission import QueueLimit
from quandary_server.scoring.engine import Engine
from quandary_server.scoring.frame_stream import ReadAhead
from quandary_server.scoring.gpu import batch_limit_of, device_of
from quandary_server.scoring.keeper import START_PATIENCE, Keeper, Load
from quandary_server.scoring.loading import spread_generation, whole_generation
from quandary_server.scoring.member_replica import asked_of
from quandary_server.scoring.meters import Meters
from quandary_server.scoring.open_inference.servicer import INFERENCE_SERVICE, OpenInferenceServicer
from quandary_server.scoring.scaling import BUSY, Busy
from quandary_server.scoring.servicer import SERVICE, ScoringServicer
from quandary_server.scoring.spread import Members
from quandary_server.scoring.work import Work
from quandary_server.settings import ScoringSettings, Topology
from quandary_server.wire.door import Door
from quandary_server.wire.frames import Limits
from quandary_server.wire.health import HealthServicer


class _ReplicaMeters(Meters):
    """Metrics, and the share of time that the replica works."""

    def __init__(self, busy: Busy) -> None:
        super().__init__()
        self._busy = busy

    def work(self, options: ScoringOptions, work: Work) -> None:
        """Count what a request was made of."""
        self._busy.add(work.seconds)
        super().work(options, work)


class ScoringIngress(ScoringServicer, OpenInferenceServicer, HealthServicer):
    """One replica: with all members (packed), or with the handles of the deployments that have them (spread).

    members: of each member by its place; first: of member 0 alone.
    """

    def __init__(
        self,
        settings: ScoringSettings,
        registry: RegistryPlace,
        tokens: Path,
        members: Sequence[DeploymentHandle[Any]] = (),
        first: DeploymentHandle[Any] | None = None,
    ) -> None:
        packed = settings.topology is Topology.PACKED
        threads = 1 if packed else settings.spread.in_flight
        limits, self._busy = limits_of(settings), Busy(threads, time.monotonic())
        self._meters = _ReplicaMeters(self._busy)

        kept, place = registry.open(), serve.get_replica_context().replica_id
        device = device_of(settings) if packed else None
        load = whole_generation(kept, device) if device else _spread(kept, [*members, first])
        keeper = Keeper[Generation](
            kept,
            place.unique_id,
            self.loading(load, registry),
            settings.poll,
            now,
            self._meters.loaded,
            deployment=place.deployment_id.name,
            beating=self._meters.refresh,
            reached=self._meters.reached,
        )
        # in `spread` the members batch: what waits here for one may be given up without the others
        batching = batch_limit_of(settings, device) if device else None
        engine = Engine(limits, queue_limit_of(settings), self._meters, threads, batching)
        door = Door(Keyring(tokens, now), self._meters.call)
        ahead = ReadAhead(settings.stream_bytes)
        ScoringServicer.__init__(self, door, keeper, engine, limits, place.unique_id, settings.stream_window, ahead)
        OpenInferenceServicer.__init__(self, door, keeper, engine, limits)
        HealthServicer.__init__(self, dict.fromkeys((SERVICE, INFERENCE_SERVICE), lambda: bool(keeper.resident)))
        keeper.start(START_PATIENCE)
        collect_only_what_is_new()

    def loading(self, load: Load[Generation], registry: RegistryPlace) -> Load[Generation]:
        """Return how a generation is loaded from the registry: as it is; a benchmark has it take longer."""
        return load

    def __del__(self) -> None:
        """Serve calls this when the replica is drained."""
        self.keeper.stop()
        self.engine.close()

    def record_autoscaling_stats(self) -> dict[str, float]:
        """Serve asks for this where autoscaling is on."""
        return {BUSY: self._busy.share(time.monotonic())}


def limits_of(settings: ScoringSettings) -> Limits:
    """Return the limits of the settings."""
    return Limits(
        settings.max_frames,
        settings.max_proposals,
        settings.max_crops,
        settings.max_points,
        settings.max_message_bytes,
    )


def queue_limit_of(settings: ScoringSettings) -> QueueLimit:
    """Return how long calls may wait by the settings."""
    return QueueLimit(settings.queue_service_times, settings.least_queue.total_seconds())


def _spread(registry: Registry, handles: Sequence[Any]) -> Load[Generation]:
    *each, first = [asked_of(handle) for handle in handles]
    return spread_generation(registry, Members(each, first), [handle.deployment_name for handle in handles], now)
