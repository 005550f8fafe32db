"""Small generations that no session loads: of what is registered, only names and bytes matter."""

from collections.abc import Mapping
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
