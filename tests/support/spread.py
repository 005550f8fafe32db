"""The spread topology without Ray: real members behind awaited calls, real keepers on a real roster."""

import threading
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

from quandary_server.clock import now
from quandary_server.inference.generation import Generation
from quandary_server.inference.member import MemberDraws
from quandary_server.inference.provider import Provider
from quandary_server.registry.directory import Artefacts, Registry
from quandary_server.registry.roster import Heartbeat
from quandary_server.scoring.keeper import Keeper
from quandary_server.scoring.loading import HeldMember, one_member, spread_generation, still_answering
from quandary_server.scoring.spread import DrawCall, Members, NotResident
from support.scoring import register

POLL = timedelta(milliseconds=10)
INGRESS, MEMBERS, FIRST = "ingress", ("m0", "m1", "m2"), "mc"


class MemberThread:
    """What answers for one member; `asked` counts the calls, `forgotten` holds generations that it says it has not.

    While `open` is cleared it loads nothing.
    """

    def __init__(self, registry: Registry, name: str, index: int) -> None:
        self.name, self.asked = name, 0
        self.forgotten: set[str] = set()
        self.open = threading.Event()
        self.open.set()
        load = one_member(registry, Provider.CPU, index, deployed=len(MEMBERS))

        def gated(generation: str, digest: str | None) -> HeldMember:
            self.open.wait(30)
            return load(generation, digest)

        used = still_answering(registry, INGRESS, now)
        self.keeper = Keeper[HeldMember](registry, name, gated, POLL, now, lambda _: None, deployment=name, still_used=used)

    async def ask(self, call: DrawCall) -> MemberDraws | NotResident:
        self.asked += 1
        held = self.keeper.find(call.generation)
        if held is None or held.member is None or call.generation in self.forgotten:
            return NotResident(self.name, tuple(found.id for found in self.keeper.resident))
        return held.member.draw(*call[1:])


class SpreadDeployment:
    """Three members, the first alone, and the ingress's keeper, on one registry."""

    def __init__(self, root: Path) -> None:
        self.registry = Registry(root)
        self.each = [MemberThread(self.registry, name, k) for k, name in enumerate(MEMBERS)]
        self.first = MemberThread(self.registry, FIRST, 0)
        members = Members([member.ask for member in self.each], self.first.ask)
        load = spread_generation(self.registry, members, [*MEMBERS, FIRST], now)
        self.keeper = Keeper[Generation](self.registry, INGRESS, load, POLL, now, lambda _: None, deployment=INGRESS)
        self._started: list[Keeper[HeldMember] | Keeper[Generation]] = []

    def start(self, but: Sequence[str] = (), patience: timedelta = timedelta(0)) -> None:
        """Start all keepers but some that are named, the ingress's last and with patience."""
        keepers = {member.name: member.keeper for member in (*self.each, self.first)} | {INGRESS: self.keeper}
        for name, keeper in keepers.items():
            if name not in but and keeper not in self._started:
                keeper.start(patience if name == INGRESS else timedelta(0))
                self._started.append(keeper)

    def stop(self) -> None:
        """Stop what was started."""
        for member in (*self.each, self.first):
            member.open.set()
        for keeper in self._started:
            keeper.stop()

    def promote(self, artefacts: Artefacts, temperature: float | None = None) -> str:
        """Register a generation and make it current, without a wait; return its id."""
        generation = register(self.registry, artefacts, temperature)
        self.registry.promote(generation, self.registry.pointer(), now(), "test")
        return generation

    def beat(self, deployment: str = INGRESS) -> Heartbeat:
        """Return the last heartbeat of a deployment's replica."""
        return next(beat for beat in self.registry.roster.alive(now()) if beat.deployment == deployment)

    def answers(self) -> str:
        """Return the generation that answers now."""
        return self.keeper.generation().id

    def resident(self, name: str) -> tuple[str, ...]:
        """Return what a member has."""
        keeper = next(member.keeper for member in (*self.each, self.first) if member.name == name)
        return tuple(held.id for held in keeper.resident)
