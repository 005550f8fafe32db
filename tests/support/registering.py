"""Small generations that no session loads: of what is registered, only names and bytes matter."""

import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

from quandary_server.registry.directory import Registry
from quandary_server.registry.manifest import Manifest, NetRecord

NOW = datetime(2026, 1, 1, tzinfo=UTC)
MEMBERS = {"member-0.onnx": b"zero", "member-1.onnx": b"one"}


def describe(number: int, generation: str, files: dict[str, str]) -> Manifest:
    return Manifest(
        generation=generation,
        number=number,
        created=NOW,
        classes=("Car", "Background"),
        net=NetRecord(side=48, embedding=80, hidden=64, dropout=0.5),
        box_scales=(1.0,) * 7,
        seed=1,
        files=files,
    )


def register(registry: Registry, members: Mapping[str, bytes] = MEMBERS) -> str:
    """Register members and return the generation's id."""
    return registry.register(members, describe).generation


def several(registry: Registry, count: int) -> list[str]:
    """Register so many generations of one member, promote each, and return their ids, the oldest first."""
    names = [register(registry, {"member-0.onnx": b"%d" % i}) for i in range(count)]
    for name in names:
        registry.promote(name, registry.pointer(), NOW, "me")
    return names


def together(*calls: Callable[[], object]) -> None:
    """Make calls in threads of their own, begun at once, and return when all have ended."""
    gate = threading.Barrier(len(calls))

    def called(call: Callable[[], object]) -> None:
        gate.wait()
        call()

    with ThreadPoolExecutor(len(calls)) as pool:
        for done in [pool.submit(called, call) for call in calls]:
            done.result()
