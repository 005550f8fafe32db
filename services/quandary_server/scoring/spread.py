"""A generation whose members are elsewhere: the same request goes to each, and what comes back is put together here."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Self

from quandary.errors import GenerationNotResident
from quandary_server.frustum.raster import Rasters
from quandary_server.inference.device import CROPS_PER_RUN, Floats, crop_slices
from quandary_server.inference.generation import Generation
from quandary_server.inference.member import MemberDraws, along_crops
from quandary_server.registry.manifest import Manifest
from quandary_server.scoring.thread_wait import Wait, all_of

MAX_CALL_BYTES = 16 << 20
"""Of maps that go to a member in one call."""


class DrawCall(NamedTuple):
    """What a member is asked: as LoadedMember.draw has it, and of which generation."""

    generation: str
    maps: Floats
    geometry: Floats
    mc_samples: int | None
    seed: int


@dataclass(frozen=True)
class NotResident:
    """What a member answers that has not the generation asked for: where it is, and what is resident."""

    where: str
    resident: tuple[str, ...]


Ask = Callable[[DrawCall], Awaitable[MemberDraws | NotResident]]


@dataclass(frozen=True)
class Members:
    """Where draws are asked for: of each member by its place, and of the first alone."""

    each: Sequence[Ask]
    first: Ask


class MemberLacks(GenerationNotResident):
    """A member has not the generation that the request was begun with; nothing of it is in an answer."""


class SpreadGeneration(Generation):
    """A generation by its manifest and its members' places; `draw` blocks its thread until they have answered."""

    def __init__(self, manifest: Manifest, members: Members, wait: Wait | None = None) -> None:
        super().__init__(manifest)
        self._members, self._wait = members, wait

    @property
    def members(self) -> int:
        """Number of members."""
        return len(self._members.each)

    def only(self, member: int) -> Self:
        """Return the generation with one of its members (from 0) and no other."""
        asked = self._members.each[member]
        return type(self)(self.manifest, Members([asked], asked), self._wait)

    def for_request(self, deadline: float | None) -> Self:
        """Return it for one request; called in the event loop that the members are asked in."""
        return type(self)(self.manifest, self._members, Wait(asyncio.get_running_loop(), deadline))

    def abandon(self) -> None:
        """End what this request still waits for: its caller has given up."""
        if self._wait is not None:
            self._wait.abandon()

    def draw_members(self, rasters: Rasters, mc_samples: int | None, seed: int) -> Sequence[MemberDraws]:
        """Return the draws of every member, in their order; raises MemberLacks, DeadlineExceeded, Cancelled, Unavailable."""
        return self._drawn(self._members.each, rasters, mc_samples, seed)

    def draw_first(self, rasters: Rasters, mc_samples: int | None, seed: int) -> MemberDraws:
        """Return the draws of the first member; raises as draw_members does."""
        return self._drawn([self._members.first], rasters, mc_samples, seed)[0]

    def _drawn(self, asked: Sequence[Ask], rasters: Rasters, mc_samples: int | None, seed: int) -> list[MemberDraws]:
        if self._wait is None:
            raise RuntimeError("a spread generation draws for a request")
        parts = crop_slices(len(rasters.maps), _crops_per_call(rasters.maps))
        calls = [DrawCall(self.id, rasters.maps[part], rasters.geometry[part], mc_samples, seed) for part in parts]
        answers = self._wait.result(all_of([ask(call) for ask in asked for call in calls]))
        draws = [answer for answer in answers if isinstance(answer, MemberDraws)]
        for answer in answers:
            if isinstance(answer, NotResident):
                here = ", ".join(answer.resident) or "none"
                raise MemberLacks(f"generation {self.id} is not resident in {answer.where}; resident: {here}")
        return [along_crops(draws[k : k + len(calls)]) for k in range(0, len(draws), len(calls))]


def _crops_per_call(maps: Floats) -> int:
    """Return how many crops go in a call: whole runs of a member where it does not take more than MAX_CALL_BYTES."""
    most = max(MAX_CALL_BYTES // int(maps[0].nbytes), 1)
    return most - most % CROPS_PER_RUN if most > CROPS_PER_RUN else most
