"""A generation whose members are elsewhere: the same request goes to each, and what comes back is put together here."""

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from concurrent import futures
from dataclasses import dataclass
from typing import Any, NamedTuple, Self, TypeVar

from quandary.errors import Cancelled, DeadlineExceeded, GenerationNotResident
from quandary_server.frustum.raster import Rasters
from quandary_server.inference.generation import Generation
from quandary_server.inference.member import CROPS_PER_RUN, Floats, MemberDraws, along_crops, crop_slices
from quandary_server.registry.manifest import Manifest

MAX_CALL_BYTES = 16 << 20
"""Of maps that go to a member in one call."""

Result = TypeVar("Result")


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

    def __init__(self, manifest: Manifest, members: Members, wait: "Wait | None" = None) -> None:
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
        answers = self._wait.result(_all_of([ask(call) for ask in asked for call in calls]))
        draws = [answer for answer in answers if isinstance(answer, MemberDraws)]
        for answer in answers:
            if isinstance(answer, NotResident):
                here = ", ".join(answer.resident) or "none"
                raise MemberLacks(f"generation {self.id} is not resident in {answer.where}; resident: {here}")
        return [along_crops(draws[k : k + len(calls)]) for k in range(0, len(draws), len(calls))]


class Wait:
    """A thread's wait for work in an event loop: until it is done, until a deadline (time.monotonic()), or until abandoned."""

    def __init__(self, loop: asyncio.AbstractEventLoop, deadline: float | None) -> None:
        self._loop, self._deadline = loop, deadline
        self._lock = threading.Lock()
        self._running: futures.Future[Any] | None = None
        self._abandoned = False

    def result(self, work: Coroutine[Any, Any, Result]) -> Result:
        """Return what the work returns; raises DeadlineExceeded or Cancelled, and ends the work then."""
        with self._lock:
            if self._abandoned:
                work.close()
                raise Cancelled("the caller has given up")
            running = self._running = asyncio.run_coroutine_threadsafe(work, self._loop)
        left = None if self._deadline is None else max(self._deadline - time.monotonic(), 0.0)
        try:
            result: Result = running.result(left)
            return result
        except TimeoutError:
            running.cancel()
            raise DeadlineExceeded("the timeout passed before the members had answered") from None
        except futures.CancelledError:
            raise Cancelled("the caller has given up") from None

    def abandon(self) -> None:
        """End the work that is waited for, and let none begin."""
        with self._lock:
            self._abandoned = True
            if self._running is not None:
                self._running.cancel()


async def _all_of(asked: Sequence[Awaitable[Result]]) -> list[Result]:
    """Return all results, in order; where one fails the others are ended."""
    tasks = [asyncio.ensure_future(one) for one in asked]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()


def _crops_per_call(maps: Floats) -> int:
    """Return how many crops go in a call: whole runs of a member where it does not take more than MAX_CALL_BYTES."""
    most = max(MAX_CALL_BYTES // int(maps[0].nbytes), 1)
    return most - most % CROPS_PER_RUN if most > CROPS_PER_RUN else most
