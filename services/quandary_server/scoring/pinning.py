"""One generation for a whole request, and another one only for the whole request anew."""

from collections.abc import Awaitable, Callable
from typing import Protocol, TypeVar

from quandary.errors import Unavailable
from quandary_server.inference.generation import Generation
from quandary_server.scoring.live import Live
from quandary_server.scoring.spread import MemberLacks

G = TypeVar("G", bound=Generation, covariant=True)
Answer = TypeVar("Answer")


class Candidates(Protocol[G]):
    """What is used of a keeper."""

    @property
    def live(self) -> Live:
        """Return what counts the answers."""

    def candidates(self, pinned: str) -> tuple[G, ...]:
        """Return those that may answer, the best first: the pinned one alone, or all."""


async def answered(
    keeper: Candidates[G], pinned: str, answer: Callable[[G], Awaitable[Answer]], deadline: float | None = None
) -> Answer:
    """Return what a generation answers: the pinned one, else the current, else, where a member lacks that, the one before.

    What it still waits for when the answer fails or is cancelled is given up, and so at the deadline (time.monotonic()).
    Raises what keeper and answer raise: GenerationNotResident where a member lacks the pinned generation, Unavailable where it
    lacks all that would do.
    """
    lacks = MemberLacks("no generation is resident")
    for generation in keeper.candidates(pinned):
        asked = generation.for_request(deadline)
        try:
            with keeper.live.answering(generation.id):
                return await answer(asked)
        except MemberLacks as error:
            lacks = error
        finally:
            asked.abandon()
    raise lacks if pinned else Unavailable(lacks.message)
