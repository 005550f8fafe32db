"""A replica that holds one member, in the spread topology, and how the ingress asks it."""

import logging
import time
from typing import Any

import grpc
from ray import serve
from ray.exceptions import RayActorError, TaskCancelledError
from ray.serve.exceptions import RayServeException
from ray.serve.handle import DeploymentHandle

from quandary.errors import Unavailable
from quandary_server.allocation import collect_only_what_is_new
from quandary_server.clock import now
from quandary_server.inference.device import Floats
from quandary_server.inference.member import MemberDraws
from quandary_server.registry.place import RegistryPlace
from quandary_server.scoring.compute import CALLS, Compute
from quandary_server.scoring.cost import PASS_S
from quandary_server.scoring.gpu import batch_limit_of, device_of
from quandary_server.scoring.joint_draws import Crops, drawn_together
from quandary_server.scoring.keeper import START_PATIENCE, Keeper, Load
from quandary_server.scoring.loading import HeldMember, one_member, still_answering
from quandary_server.scoring.meters import MemberMeters
from quandary_server.scoring.scaling import BUSY, Busy
from quandary_server.scoring.spread import Ask, DrawCall, NotResident
from quandary_server.settings import ScoringSettings

log = logging.getLogger(__name__)

TRIES = 2
"""A draw may be asked for again: a replica that went away meanwhile costs the caller nothing while another is there."""


class MemberReplica:
    """Draws with member `index` of the current generation, the one before, and those that the ingress still answers with.

    deployed: members that a generation may have. ingress: name of the deployment that asks.
    """

    def __init__(self, settings: ScoringSettings, registry: RegistryPlace, index: int, deployed: int, ingress: str) -> None:
        kept, place, self._meters = registry.open(), serve.get_replica_context().replica_id, MemberMeters()
        self._name = place.deployment_id.name
        self._keeper = Keeper[HeldMember](
            kept,
            f"{self._name}-{place.unique_id}",
            self.loading(one_member(kept, device := device_of(settings), index, deployed), registry),
            settings.poll,
            now,
            self._meters.loaded,
            deployment=self._name,
            still_used=still_answering(kept, ingress, now),
            beating=self._meters.refresh,
            reached=self._meters.reached,
        )
        self._busy = Busy(1, time.monotonic())
        self._compute = Compute(1, batch_limit_of(settings, device))
        self._keeper.start(START_PATIENCE)
        collect_only_what_is_new()

    def loading(self, load: Load[HeldMember], registry: RegistryPlace) -> Load[HeldMember]:
        """Return how a member is loaded from the registry: as it is; a benchmark has it take longer."""
        return load

    def __del__(self) -> None:
        """Serve calls this when the replica is drained."""
        self._keeper.stop()
        self._compute.close()

    async def draw(
        self, generation: str, maps: Floats, geometry: Floats, mc_samples: int | None, seed: int
    ) -> MemberDraws | NotResident:
        """Return the member's draws, or that it has not this generation; what waits for its thread can be cancelled."""
        held = self._keeper.find(generation)
        if held is None or held.member is None:
            return NotResident(self._name, tuple(found.id for found in self._keeper.resident))
        drawing = drawn_together(held.member, held.id, Crops(maps, geometry), mc_samples, seed)
        ran = await self._compute.run(drawing, CALLS, len(maps) * PASS_S)
        self._busy.add(ran.took_s)
        self._meters.drawn(ran.took_s)
        return ran.result

    def record_autoscaling_stats(self) -> dict[str, float]:
        """Serve asks for this where autoscaling is on."""
        return {BUSY: self._busy.share(time.monotonic())}


def asked_of(handle: DeploymentHandle[Any]) -> Ask:
    """Return how a deployment of MemberReplica is asked: by Serve, which picks one of its replicas.

    Raises Unavailable where none could be reached.
    """
    # over gRPC, in place of calls of actors whose arguments and results go to Ray's store
    draw = handle.options(
        method_name="draw", _by_reference=False, request_serialization="pickle", response_serialization="pickle"
    )

    async def ask(call: DrawCall) -> MemberDraws | NotResident:
        problem: Exception | None = None
        for _ in range(TRIES):
            try:
                answer: MemberDraws | NotResident = await draw.remote(*call)
                return answer
            except (RayActorError, RayServeException, TaskCancelledError, grpc.aio.AioRpcError) as error:
                problem = error
        log.warning("member_not_reached deployment=%s problem=%r", handle.deployment_name, problem)
        raise Unavailable(f"{handle.deployment_name} could not be reached") from problem

    return ask
