"""Moving the pointer, waiting until every replica answers with it, and back where they do not."""

import time
from collections.abc import Callable, Collection
from datetime import datetime, timedelta

from quandary.errors import CorruptArtefact, DeadlineExceeded, NotFound, PointerMoved, Unavailable, WrongState
from quandary_server.registry.directory import Registry
from quandary_server.registry.pointer import Pointer
from quandary_server.registry.roster import LOST_AFTER, Heartbeat
from quandary_server.storage.audit import PointerAction
from quandary_server.trainer.moves import Cause, Move, Told, untold

LOOK_EVERY_S = 0.05
KILLED_AFTER = 3 * LOST_AFTER

BACK_WITHIN = timedelta(seconds=10)
"""How long replicas are waited for that turn back by themselves: they have the generation before in memory."""

ITSELF = "trainer"
"""Who rolls back without being asked to."""


class ReplicasBehind(DeadlineExceeded):
    """Replicas did not follow in time; the message names them, and says nothing of the pointer."""


def promote(
    registry: Registry,
    generation: str,
    expected: Pointer | None,
    *,
    mover: str,
    timeout: timedelta,
    clock: Callable[[], datetime],
    cause: Cause = Cause.CALL,
    told: Told = untold,
    back_within: timedelta = BACK_WITHIN,
) -> list[str]:
    """Make a generation current and return the replicas that answer with it, once all of the roster do.

    Where they do not in time the pointer goes back to the generation before, and DeadlineExceeded says so and names them. It
    stays where there is none before: the generation is the first, or was current already, or what was before is unreadable.
    Of one that is current already nothing is moved, and a watch of it goes on: who got no answer may ask again.
    Raises PointerMoved where another promotion came first, or since, which is then left alone, and CorruptArtefact.
    """
    if expected is not None and _stands(registry, generation, expected):
        return see_through(registry, expected, generation, timeout=timeout, clock=clock)
    moved = registry.promote(generation, expected, clock(), mover)
    before = expected.generation if expected else ""
    told(promotion(moved, before, timeout, cause))
    return see_through(registry, moved, before, timeout=timeout, clock=clock, told=told, back_within=back_within)


def _stands(registry: Registry, generation: str, pointer: Pointer) -> bool:
    """Return whether the pointer is on this very generation, with the manifest that is there; else it is to be moved."""
    if generation != pointer.generation:
        return False
    try:
        registry.load(generation, pointer.manifest_digest)
    except CorruptArtefact:
        return False
    return True


def promotion(moved: Pointer, before: str, timeout: timedelta, cause: Cause) -> Move:
    """Return what is told of a promotion: the pointer as it was moved, the generation before, and how long is waited."""
    waits = {"timeout_s": f"{timeout.total_seconds():g}"}
    return Move(PointerAction.PROMOTE, moved.generation, before, moved.revision, moved.mover, moved.moved, cause, details=waits)


def see_through(
    registry: Registry,
    moved: Pointer,
    before: str,
    *,
    timeout: timedelta,
    clock: Callable[[], datetime],
    told: Told = untold,
    back_within: timedelta = BACK_WITHIN,
) -> list[str]:
    """Return the replicas that answer with the generation that the pointer was moved to; does and raises as `promote` does."""
    generation = moved.generation
    try:
        return wait_for_replicas(registry, generation, timeout, clock)
    except ReplicasBehind as late:
        behind = late.message
    if before in ("", generation):
        why = "was so before" if before else "there is none to roll back to"
        raise DeadlineExceeded(f"{generation} is current, and {why}, but {behind}")
    try:
        after = turn_back(registry, moved, behind, Cause.REPLICAS, clock, told, back_within)
    except (CorruptArtefact, NotFound, Unavailable) as broken:
        raise DeadlineExceeded(f"{generation} is current, but {behind}; not rolled back: {broken.message}") from broken
    raise DeadlineExceeded(f"rolled back to {before}: of {generation}, {behind}{after}")


def turn_back(
    registry: Registry,
    moved: Pointer,
    reason: str,
    cause: Cause,
    clock: Callable[[], datetime],
    told: Told,
    within: timedelta = BACK_WITHIN,
) -> str:
    """Go back from this very pointer to the generation before; return in words what did not go well with it, mostly nothing.

    Raises PointerMoved where the pointer is another by now, WrongState where there is none before, CorruptArtefact or NotFound
    where that one cannot be read any more, and Unavailable: the pointer stays then.
    """
    back = registry.roll_back(moved, clock(), ITSELF)
    to, before = back.generation, moved.generation
    told(Move(PointerAction.ROLL_BACK, to, before, back.revision, ITSELF, back.moved, cause, reason))
    try:
        wait_for_replicas(registry, back.generation, within, clock)
    except (ReplicasBehind, PointerMoved) as problem:
        return f"; since then {problem.message}"
    return ""


def roll_back(
    registry: Registry,
    to: str | None,
    *,
    mover: str,
    timeout: timedelta,
    clock: Callable[[], datetime],
    told: Told = untold,
) -> tuple[Pointer, list[str]]:
    """Go back to the generation before, or to `to`; return the pointer and the replicas that answer with it.

    Raises WrongState where there is none to go back to, PointerMoved and CorruptArtefact as `promote` does, and
    DeadlineExceeded naming the replicas that did not follow in time: the pointer stays, since who rolls back does not want
    the other.
    """
    pointer = registry.pointer()
    if pointer is None:
        raise WrongState("no generation has been promoted yet: there is nothing to roll back")
    moved = registry.roll_back(pointer, clock(), mover, to)
    before = pointer.generation
    told(Move(PointerAction.ROLL_BACK, moved.generation, before, moved.revision, mover, moved.moved, Cause.CALL))
    try:
        return moved, wait_for_replicas(registry, moved.generation, timeout, clock)
    except ReplicasBehind as late:
        raise DeadlineExceeded(f"the pointer is back: {moved.generation} is current, but {late.message}") from None


def wait_for_replicas(registry: Registry, generation: str, timeout: timedelta, clock: Callable[[], datetime]) -> list[str]:
    """Return the replicas once all of them answer with the generation, which the pointer has just been moved to.

    They are those that were alive at the call, and those that have come since. One that falls silent is waited for, since it
    may answer still, with the generation before; not one that left, nor one silent for 30 s where a fresh one came: that was
    killed and replaced.

    A registry that is away for a moment is asked again. Raises ReplicasBehind, naming those that did not follow in time, or
    what is wrong with the registry, and PointerMoved as soon as another generation is current.
    """
    deadline = time.monotonic() + timeout.total_seconds()
    moved, first = clock(), set[str]()
    while True:
        try:
            _check_current(registry, generation)
            # as of the move: whoever was alive then is listed until it leaves, however long it has been silent
            replicas = registry.roster.alive(moved)
        except Unavailable as away:
            problem = f"it is not known who answers with it: {away.message}"
        else:
            first = first or {beat.replica for beat in replicas}
            replicas = _without_replaced(replicas, first, clock())
            behind = [beat for beat in replicas if beat.generation != generation]
            if not behind:
                return [beat.replica for beat in replicas]
            names = "; ".join(f"{b.replica} ({b.problem or b.generation or 'no generation'})" for b in behind)
            problem = f"{len(behind)} of {len(replicas)} replicas do not answer with it: {names}"
        if time.monotonic() >= deadline:
            raise ReplicasBehind(problem)
        time.sleep(LOOK_EVERY_S)


def _without_replaced(replicas: list[Heartbeat], first: Collection[str], now: datetime) -> list[Heartbeat]:
    """Return the replicas but those killed; first: those at the beginning of the wait."""
    if all(beat.replica in first for beat in replicas):
        return replicas
    return [beat for beat in replicas if now - beat.beaten <= KILLED_AFTER]


def _check_current(registry: Registry, generation: str) -> None:
    pointer = registry.pointer()
    if pointer is None or pointer.generation != generation:
        now = f"{pointer.mover} has made {pointer.generation} current since" if pointer else "there is no pointer any more"
        raise PointerMoved(f"{generation} was made current, but {now}")
