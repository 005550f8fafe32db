"""One generation for a whole request, and another one only for the whole request anew."""

from collections.abc import Awaitable, Callable
from typing import TypeVar

from quandary.errors import Unavailable
from quandary_server.inference.generation import Generation
from quandary_server.scoring.keeper import Keeper
from quandary_server.scoring.spread import MemberLacks

G = TypeVar("G", bound=Generation)
Answer = TypeVar("Answer")


async def answered(keeper: Keeper[G], pinned: str, answer: Callable[[G], Awaitable[Answer]]) -> Answer:
    """Return what a generation answers: the pinned one, else the current, else, where a member lacks that, the one before.

    Raises what the keeper and the answer raise: GenerationNotResident where a member lacks the pinned one, Unavailable where it
    lacks those that would do.
    """
    lacks: MemberLacks | None = None
    for generation in keeper.candidates(pinned):
        try:
            return await answer(generation)
        except MemberLacks as error:
            lacks = error
    if pinned or lacks is None:
        raise lacks or Unavailable("no generation answers")
    raise Unavailable(lacks.message)
