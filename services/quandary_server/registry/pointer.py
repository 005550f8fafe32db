"""Which generation is current."""

from datetime import datetime

from pydantic import BaseModel, ConfigDict, Field

MAX_HISTORY = 50


class Pointer(BaseModel):
    """The content of CURRENT: the path of generations to the current one, oldest first, and how often it was moved."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    revision: int = Field(ge=1)
    history: tuple[str, ...] = Field(min_length=1, max_length=MAX_HISTORY)
    manifest_digest: str = Field(description="SHA-256 of the current generation's manifest.json")
    moved: datetime
    mover: str

    @property
    def generation(self) -> str:
        """Id of the current generation."""
        return self.history[-1]

    @property
    def previous(self) -> str | None:
        """Id of the generation that a rollback goes to."""
        return self.history[-2] if len(self.history) > 1 else None


def advanced(pointer: Pointer | None, generation: str, digest: str, now: datetime, mover: str) -> Pointer:
    """Return the pointer moved on to a generation; one that is current already comes into the history no second time."""
    history = pointer.history if pointer else ()
    if history[-1:] != (generation,):
        history = (*history, generation)[-MAX_HISTORY:]
    return Pointer(revision=_next(pointer), history=history, manifest_digest=digest, moved=now, mover=mover)


def restarted(generation: str, digest: str, now: datetime, mover: str) -> Pointer:
    """Return a pointer to a generation where the one before cannot be read: its history is lost, its revision unknown.

    The revision is the time in seconds since 1970, so that it grows still: no pointer is moved once a second for good.
    """
    return Pointer(revision=int(now.timestamp()), history=(generation,), manifest_digest=digest, moved=now, mover=mover)


def returned(pointer: Pointer, generation: str, digest: str, now: datetime, mover: str) -> Pointer:
    """Return the pointer moved back to a generation of its history: what came after it is forgotten."""
    last = len(pointer.history) - 1 - pointer.history[::-1].index(generation)
    history = pointer.history[: last + 1]
    return Pointer(revision=_next(pointer), history=history, manifest_digest=digest, moved=now, mover=mover)


def _next(pointer: Pointer | None) -> int:
    return pointer.revision + 1 if pointer else 1
