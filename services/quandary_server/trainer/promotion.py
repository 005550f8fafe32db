"""Moving the pointer, and waiting until every replica answers with it."""

import time
from collections.abc import Callable
from datetime import datetime, timedelta

from quandary.errors import DeadlineExceeded, WrongState
from quandary_server.registry.directory import Registry
from quandary_server.registry.pointer import Pointer

LOOK_EVERY_S = 0.05


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

    Raises PointerMoved where another promotion came first, CorruptArtefact, and DeadlineExceeded naming the replicas that did
    not follow in time; the pointer stays on the generation then.
    """
    registry.promote(generation, expected, clock(), mover)
    return wait_for_replicas(registry, generation, timeout, clock)


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
    return moved, wait_for_replicas(registry, moved.generation, timeout, clock)


def wait_for_replicas(registry: Registry, generation: str, timeout: timedelta, clock: Callable[[], datetime]) -> list[str]:
    """Return the living replicas once all of them answer with the generation; raise DeadlineExceeded naming the others."""
    deadline = time.monotonic() + timeout.total_seconds()
    while True:
        alive = registry.roster.alive(clock())
        behind = [beat for beat in alive if beat.generation != generation]
        if not behind:
            return [beat.replica for beat in alive]
        if time.monotonic() >= deadline:
            names = "; ".join(f"{b.replica} ({b.problem or b.generation or 'no generation'})" for b in behind)
            raise DeadlineExceeded(
                f"{generation} is current, but {len(behind)} of {len(alive)} replicas do not answer with it: {names}"
            )
        time.sleep(LOOK_EVERY_S)
