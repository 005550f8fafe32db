"""Which generation is current."""

import secrets
from collections.abc import Collection
from datetime import datetime
from itertools import groupby

from pydantic import BaseModel, ConfigDict, Field

MAX_HISTORY = 50


class Pointer(BaseModel):
    """The content of CURRENT: the path of generations to the current one, oldest first, and how often it was moved.

    pinned: generations that are not to be deleted. condemned: those that are being deleted, which nothing moves to any more.
    Both stand here so that they change by the same compare-and-swap as promotions: none is deleted and promoted at once.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    revision: int = Field(ge=1)
    history: tuple[str, ...] = Field(min_length=1, max_length=MAX_HISTORY)
    manifest_digest: str = Field(description="SHA-256 of the current generation's manifest.json")
    moved: datetime
    mover: str
    move: str = Field(default="", description="made by chance for each move, so that a mover knows its own again")
    pinned: tuple[str, ...] = ()
    condemned: tuple[str, ...] = ()

    def same_move(self, other: "Pointer | None") -> bool:
        """Whether nobody has moved the pointer between the two; what is pinned or condemned may differ."""
        return other is not None and (self.revision, self.move, self.generation, self.moved, self.mover) == (
            other.revision,
            other.move,
            other.generation,
            other.moved,
            other.mover,
        )

    @property
    def generation(self) -> str:
        """Id of the current generation."""
        return self.history[-1]

    @property
    def previous(self) -> str | None:
        """Id of the generation that a rollback goes to."""
        return self.history[-2] if len(self.history) > 1 else None


class Written(Pointer):
    """A pointer as it lies in CURRENT.

    write: made by chance for each write. Versions of CURRENT are digests: a pointer that says again what it said before a
    deletion must not pass for that one.
    """

    write: str = ""


def written(pointer: Pointer) -> bytes:
    """Return the content of CURRENT for a pointer, which no other write has had."""
    return Written(**pointer.model_dump(), write=secrets.token_hex(8)).model_dump_json(indent=1).encode()


def read(data: bytes) -> Pointer:
    """Return the pointer of the content of CURRENT; raises ValidationError where it is torn."""
    return Pointer(**Written.model_validate_json(data).model_dump(exclude={"write"}))


def advanced(pointer: Pointer | None, generation: str, digest: str, now: datetime, mover: str) -> Pointer:
    """Return the pointer moved on to a generation; one that is current already comes into the history no second time."""
    history = pointer.history if pointer else ()
    if history[-1:] != (generation,):
        history = (*history, generation)[-MAX_HISTORY:]
    return _moved(pointer, history, digest, now, mover)


def restarted(generation: str, digest: str, now: datetime, mover: str) -> Pointer:
    """Return a pointer to a generation where the one before cannot be read: its history is lost, its revision unknown.

    The revision is the time in seconds since 1970, so that it grows still: no pointer is moved once a second for good.
    """
    return _moved(None, (generation,), digest, now, mover).model_copy(update={"revision": int(now.timestamp())})


def returned(pointer: Pointer, generation: str, digest: str, now: datetime, mover: str) -> Pointer:
    """Return the pointer moved back to a generation of its history: what came after it is forgotten."""
    last = len(pointer.history) - 1 - pointer.history[::-1].index(generation)
    return _moved(pointer, pointer.history[: last + 1], digest, now, mover)


def pinning(pointer: Pointer, generation: str, pinned: bool) -> Pointer:
    """Return the pointer, not moved, with a generation pinned or not."""
    others = {name for name in pointer.pinned if name != generation}
    return pointer.model_copy(update={"pinned": tuple(sorted(others | {generation} if pinned else others))})


def condemning(pointer: Pointer, generations: Collection[str]) -> Pointer:
    """Return the pointer, not moved, with generations condemned, but for the current, the one before and what is pinned."""
    gone = set(generations) - {pointer.generation, pointer.previous, *pointer.pinned}
    # none comes before itself when those between are gone
    history = tuple(name for name, _ in groupby(name for name in pointer.history if name not in gone))
    return pointer.model_copy(update={"history": history, "condemned": tuple(sorted(gone | set(pointer.condemned)))})


def forgetting(pointer: Pointer, generations: Collection[str]) -> Pointer:
    """Return the pointer, not moved, without a word of condemned generations that are deleted now."""
    return pointer.model_copy(update={"condemned": tuple(name for name in pointer.condemned if name not in generations)})


def _moved(pointer: Pointer | None, history: tuple[str, ...], digest: str, now: datetime, mover: str) -> Pointer:
    return Pointer(
        revision=pointer.revision + 1 if pointer else 1,
        history=history,
        manifest_digest=digest,
        moved=now,
        mover=mover,
        move=secrets.token_hex(8),
        pinned=pointer.pinned if pointer else (),
        condemned=pointer.condemned if pointer else (),
    )
