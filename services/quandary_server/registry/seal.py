"""A manifest's digest of itself: whatever bit of it turns is noticed, whether or not it ever was current."""

import json
from typing import Any

from quandary_server.registry.manifest import Manifest, sha256


def sealed(manifest: Manifest) -> Manifest:
    """Return the manifest with its seal."""
    return manifest.model_copy(update={"seal": _digest(json.loads(manifest.model_dump_json()))})


def broken(data: bytes) -> bool:
    """Whether the JSON of a manifest bears a seal that is not of its content.

    It is made of the JSON and not of the model, so that fields which a later version adds break no older seal.
    """
    content = json.loads(data)
    seal = content.get("seal", "")
    return bool(seal) and seal != _digest(content)


def _digest(content: dict[str, Any]) -> str:
    kept = {name: value for name, value in content.items() if name != "seal"}
    return sha256(json.dumps(kept, sort_keys=True, separators=(",", ":")).encode())
