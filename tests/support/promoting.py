"""Promotions by another process; here, because a spawned process imports what it runs."""

from datetime import UTC, datetime
from multiprocessing.queues import Queue

from quandary.errors import PointerMoved
from quandary_server.registry.place import RegistryPlace

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def promote_often(place: RegistryPlace, generations: list[str], wins: "Queue[int]") -> None:
    """Promote each generation over whatever is current, and tell how many promotions were first."""
    registry, won = place.open(), 0
    for generation in generations:
        try:
            registry.promote(generation, registry.pointer(), NOW, "me")
            won += 1
        except PointerMoved:
            continue
    wins.put(won)
