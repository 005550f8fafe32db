"""What replicas keep of a generation: all of it, one member of it, or only the knowledge of it.

What answers meanwhile is to feel as little of it as can be: a generation is loaded in small steps with rests between.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from quandary.errors import WrongState
from quandary_server.inference.cuda import open_device
from quandary_server.inference.device import Device
from quandary_server.inference.generation import LoadedGeneration
from quandary_server.inference.member import LoadedMember
from quandary_server.inference.provider import Provider
from quandary_server.inference.warm_up import warm_up, warm_up_member
from quandary_server.registry.directory import Registry
from quandary_server.registry.manifest import Manifest
from quandary_server.scoring.keeper import Load, NotYet
from quandary_server.scoring.spread import Members, SpreadGeneration

REST_OVER_STEP, LONGEST_REST_S = 4.0, 0.1


class Rests:
    """Rests after each step of some work: four times as long as that took, a tenth of a second at most."""

    def __init__(self, clock: Callable[[], float] = time.perf_counter, sleep: Callable[[float], None] = time.sleep) -> None:
        self._clock, self._sleep, self._since = clock, sleep, clock()

    def __call__(self) -> None:
        """Rest: a step ends here."""
        self._sleep(min((self._clock() - self._since) * REST_OVER_STEP, LONGEST_REST_S))
        self._since = self._clock()


@dataclass(frozen=True)
class HeldMember:
    """One member of a generation; None where the generation has fewer members than are deployed."""

    manifest: Manifest
    member: LoadedMember | None

    @property
    def id(self) -> str:
        """The generation's id."""
        return self.manifest.generation

    @property
    def number(self) -> int:
        """The generation's number."""
        return self.manifest.number


def whole_generation(registry: Registry, where: Provider | Device) -> Load[LoadedGeneration]:
    """Load every member; raises InvalidArgument, now, where the provider cannot be had."""
    device = _device(where)

    def load(generation: str, digest: str | None) -> LoadedGeneration:
        rest = Rests()
        artefacts = registry.load(generation, digest)
        rest()
        loaded = LoadedGeneration(artefacts, device, rest)
        warm_up(loaded, rest)
        return loaded

    return load


def one_member(registry: Registry, where: Provider | Device, index: int, deployed: int) -> Load[HeldMember]:
    """Load member `index`; a generation with more members than are deployed is refused with WrongState.

    Raises InvalidArgument, now, where the provider cannot be had.
    """
    device = _device(where)

    def load(generation: str, digest: str | None) -> HeldMember:
        rest = Rests()
        manifest = _fitting(registry.verified(generation, digest), deployed)
        if index >= len(manifest.members):
            return HeldMember(manifest, None)
        member = LoadedMember(registry.member(manifest, index), index, manifest.net, device)
        rest()
        warm_up_member(member, manifest, rest)
        return HeldMember(manifest, member)

    return load


def spread_generation(
    registry: Registry, members: Members, deployments: Sequence[str], clock: Callable[[], datetime]
) -> Load[SpreadGeneration]:
    """Take a generation once every replica of the members' deployments says in the roster that it has it.

    deployments: their names. Raises NotYet naming those that have it not, and WrongState as `one_member` does.
    """

    def load(generation: str, digest: str | None) -> SpreadGeneration:
        manifest = _fitting(registry.verified(generation, digest), len(members.each))
        alive = registry.roster.alive(clock())
        lacking = []
        for name in deployments:
            beats = [beat for beat in alive if beat.deployment == name]
            behind = [beat for beat in beats if generation not in beat.resident]
            if behind or not beats:
                problem = next((beat.problem for beat in behind if beat.problem), "")
                lacking.append(f"{name} ({problem})" if problem else name)
        if lacking:
            raise NotYet(f"{generation} waits for {', '.join(lacking)}")
        return SpreadGeneration(manifest, Members(members.each[: len(manifest.members)], members.first))

    return load


def still_answering(registry: Registry, ingress: str, clock: Callable[[], datetime]) -> Callable[[], set[str]]:
    """Tell which generations the replicas of the ingress answer with, or have requests of in flight: members keep these."""

    def found() -> set[str]:
        beats = [beat for beat in registry.roster.alive(clock()) if beat.deployment == ingress]
        draining = {counts.generation for beat in beats for counts in beat.live if counts.in_flight}
        return draining | {beat.generation for beat in beats}

    return found


def _fitting(manifest: Manifest, deployed: int) -> Manifest:
    """Return the manifest; raises WrongState where it has more members than are deployed."""
    if len(manifest.members) > deployed:
        raise WrongState(
            f"{manifest.generation} has {len(manifest.members)} members, deployed are {deployed}: "
            "set QUANDARY_SCORING__SPREAD__MEMBERS"
        )
    return manifest


def _device(where: Provider | Device) -> Device:
    return open_device(where) if isinstance(where, Provider) else where
