"""What is deleted, and when: generations beyond the last N, and what crashed registrations left.

Never the current generation or the one before it (what a rollback goes to), nor what is pinned, nor what a replica heard of
within ten minutes holds: requests in flight may be pinned to that.

A generation is condemned in the pointer first, by the compare-and-swap that promotions, rollbacks and pins go through: one of
them that came first is seen, and none that comes later can go to it. That is final. The files go after it, the manifest first,
so that half a generation is none. Whoever dies in between leaves a condemned generation, which the next one deletes.
"""

import logging
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from quandary_server.registry.directory import CURRENT, MANIFEST, MODELS, NUMBERS, Registry
from quandary_server.registry.pointer import condemning, forgetting

log = logging.getLogger(__name__)

KEEP = 10
LEFTOVERS_AFTER = timedelta(days=1)


@dataclass(frozen=True)
class Retention:
    """keep: newest generations that stay. leftovers_after: age at which what has no manifest is no registration going on."""

    keep: int = KEEP
    leftovers_after: timedelta = LEFTOVERS_AFTER


@dataclass(frozen=True)
class Pruning:
    """What is deleted, or would be: generations, and folders without a manifest. kept: why each other generation stays."""

    generations: tuple[str, ...]
    leftovers: tuple[str, ...]
    kept: dict[str, str]


def plan(registry: Registry, retention: Retention, now: datetime) -> Pruning:
    """Return what `prune` would delete now. Raises CorruptArtefact where the pointer cannot be read, and Unavailable."""
    pointer, registered = registry.pointer(), registry.generations()
    condemned = pointer.condemned if pointer else ()
    leftovers = tuple(
        name
        for name in registry.folders()
        if name not in condemned and _left_over(registry, name, now - retention.leftovers_after)
    )
    if pointer is None:
        # the first to be promoted may be any of them
        return Pruning((), leftovers, dict.fromkeys(registered, "none is current yet"))

    kept = dict.fromkeys(registered[: retention.keep], "one of the newest")
    for beat in registry.roster.known(now):
        kept |= dict.fromkeys({beat.generation, *beat.resident}, f"held by {beat.replica}")
    kept |= dict.fromkeys(pointer.pinned, "pinned")
    kept |= {pointer.previous or "": "the one before the current", pointer.generation: "current"}
    kept = {name: kept[name] for name in registered if name in kept and name not in condemned}
    return Pruning(tuple(name for name in registered if name not in kept), leftovers, kept)


def prune(registry: Registry, retention: Retention, now: datetime) -> Pruning:
    """Delete what need not be kept, and return it. Several processes may do so at once. Raises as `plan` does."""
    planned = plan(registry, retention, now)
    if registry.pointer() is not None:
        pointer = registry.amend(lambda pointer: condemning(pointer, planned.generations))
        for name in pointer.condemned:
            registry.erase(name)
            log.info("generation_deleted generation=%s", name)
        registry.amend(lambda now_there: forgetting(now_there, pointer.condemned))
        planned = replace(planned, generations=pointer.condemned)
    for name in planned.leftovers:
        registry.clear(name, now - retention.leftovers_after)
        log.info("leftover_deleted generation=%s", name)
    _sweep(registry, max(planned.kept, default=""), now - retention.leftovers_after)
    return planned


def _left_over(registry: Registry, name: str, before: datetime) -> bool:
    entries = registry.objects.entries(f"{MODELS}/{name}")
    return all(entry.name != MANIFEST and entry.modified < before for entry in entries)


def _sweep(registry: Registry, newest: str, before: datetime) -> None:
    """Delete what nobody needs: claims of numbers below the newest generation's, and files half written."""
    for entry in registry.objects.entries(NUMBERS):
        half_written = entry.name.startswith(".") and entry.modified < before
        if half_written or (entry.name.isdigit() and entry.name < newest[1:7]):
            registry.objects.delete(f"{NUMBERS}/{entry.name}")
    for entry in registry.objects.entries(""):
        if entry.name.startswith(f".{CURRENT}.") and entry.modified < before:
            registry.objects.delete(entry.name)
