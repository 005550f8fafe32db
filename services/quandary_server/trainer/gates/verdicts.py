"""When a figure tells nothing, and what is said then."""

from quandary_server.registry.manifest import GateRecord

MIN_CROPS, MIN_ERRORS = 100, 20
"""A figure of fewer crops (of the box: objects), and one that ranks fewer errors, is undetermined and gates nothing."""

NO_CURRENT = "there is no current generation to compare with"


def undetermined(gate: str, reason: str, *, candidate: float | None = None, floor: float | None = None) -> GateRecord:
    """Return the verdict on what cannot be told."""
    return GateRecord(gate=gate, verdict="undetermined", candidate=candidate, floor=floor, reason=reason)
