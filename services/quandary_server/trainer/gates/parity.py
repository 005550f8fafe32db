"""Does ONNX Runtime answer as torch did?"""

from collections.abc import Sequence

from quandary_server.detector.export import PARITY_TOLERANCE
from quandary_server.registry.manifest import GateRecord


def parity_gate(parities: Sequence[float]) -> GateRecord:
    """Return the verdict on the largest difference between any member's ONNX model and its torch net."""
    worst = max(parities)
    passed = worst <= PARITY_TOLERANCE
    return GateRecord(
        gate="onnx_parity",
        verdict="passed" if passed else "refused",
        candidate=worst,
        floor=PARITY_TOLERANCE,
        reason=f"the largest difference from torch is {worst:.2g}, allowed are {PARITY_TOLERANCE:g}",
    )
