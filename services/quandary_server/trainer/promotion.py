"""Moving the pointer, and waiting until every replica answers with it."""

import time
from collections.abc import Callable
from datetime import datetime, timedelta

from quandary.errors import DeadlineExceeded, PointerMoved, WrongState
from quandary_server.registry.directory import Registry
from quandary_server.registry.pointer import Pointer
from quandary_server.registry.roster import LOST_AFTER

LOOK_EVERY_S = 0.05
KILLED_AFTER = 3 * LOST_AFTER


def promote(
    registry: Registry,
    generation: str,
    expected: Pointer | None,
    *,
    mover: str,
    timeout: timedelta,
    clock: Callable[[], datetime],
) -> list[str]:
    """Make a generation current and return the replicas that answer with it, once all of the roster do.

    Raises PointerMoved where another promotion came first, CorruptArtefact, and as `wait_for_replicas` does.
    """
    registry.promote(generation, expected, clock(), mover)
    before = expected.generation if expected else ""
    return wait_for_replicas(registry, generation, timeout, clock, before=before)


def roll_back(
    registry: Registry, to: str | None, *, mover: str, timeout: timedelta, clock: Callable[[], datetime]
) -> tuple[Pointer, list[str]]:
    """Go back to the generation before, or to `to`; return the pointer and the replicas that answer with it.

    Raises WrongState where there is none to go back to, and as `promote` does.
    """
    pointer = registry.pointer()
    if pointer is None:
        raise WrongState("no generation has been promoted yet: there is nothing to roll back")
    moved = registry.roll_back(pointer, clock(), mover, to)
    return moved, wait_for_replicas(registry, moved.generation, timeout, clock, before=pointer.generation)


def wait_for_replicas(
    registry: Registry, generation: str, timeout: timedelta, clock: Callable[[], datetime], *, before: str = ""
) -> list[str]:
    """Return the replicas once all of them answer with the generation, which the pointer has just been moved to.

    They are those that were alive at the call, and those that have come since. One that falls silent is waited for, since it
    may answer still, with the generation before; not one that left, nor one silent for 30 s where a fresh one came: that was
    killed and replaced. before: the generation that was current, for the message.

    Raises DeadlineExceeded, naming the replicas that did not follow in time; the pointer stays on the generation then.
    Raises PointerMoved as soon as another promotion makes another generation current.
    """
    deadline = time.monotonic() + timeout.total_seconds()
    moved = clock()
    first = {beat.replica for beat in registry.roster.alive(moved)}
    while True:
        _check_current(registry, generation)
        # as of the move: whoever was alive then is listed until it leaves, however long it has been silent
        replicas, now = registry.roster.alive(moved), clock()
        if any(beat.replica not in first for beat in replicas):
            replicas = [beat for beat in replicas if now - beat.beaten <= KILLED_AFTER]

        behind = [beat for beat in replicas if beat.generation != generation]
        if not behind:
            return [beat.replica for beat in replicas]
        if time.monotonic() >= deadline:
            names = "; ".join(f"{b.replica} ({b.problem or b.generation or 'no generation'})" for b in behind)
            raise DeadlineExceeded(
                f"the pointer has moved: {generation} is current (before: {before or 'none'}), "
                f"but {len(behind)} of {len(replicas)} replicas do not answer with it: {names}"
            )
        time.sleep(LOOK_EVERY_S)


def _check_current(registry: Registry, generation: str) -> None:
    pointer = registry.pointer()
    if pointer is None or pointer.generation != generation:
        now = f"{pointer.mover} has made {pointer.generation} current since" if pointer else "there is no pointer any more"
        raise PointerMoved(f"{generation} was made current, but {now}")
