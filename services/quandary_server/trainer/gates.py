"""The gates: what a candidate must pass before it may be promoted."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from quandary_server.detector.export import PARITY_TOLERANCE
from quandary_server.evaluation.bootstrap import MIN_GROUPS, grouping, paired_interval
from quandary_server.registry.manifest import GateRecord

Array = NDArray[np.float64]

MIN_CROPS = 100
"""A figure of fewer crops is undetermined and gates nothing."""

BOOTSTRAP_SEED = 0


def parity_gate(parities: Sequence[float]) -> GateRecord:
    """Return the verdict on the largest difference between any member's ONNX model and its torch net."""
    worst = max(parities)
    passed = worst <= PARITY_TOLERANCE
    return GateRecord(
        gate="onnx_parity",
        verdict="passed" if passed else "refused",
        candidate=worst,
        reference=PARITY_TOLERANCE,
        reason=f"the largest difference from torch is {worst:.2g}, allowed are {PARITY_TOLERANCE:g}",
    )


def nll_floor_gate(nll: Array | None, floor: float) -> GateRecord:
    """Return the verdict on the candidate's NLL (N,) in nats on the control crops; None where there are none."""
    if nll is None or len(nll) < MIN_CROPS:
        return _undetermined("nll_floor", nll)
    mean = float(nll.mean())
    passed = mean <= floor
    return GateRecord(
        gate="nll_floor",
        verdict="passed" if passed else "refused",
        candidate=mean,
        reference=floor,
        reason=f"the NLL on control drives is {mean:.3f} nats, allowed are {floor:g}",
    )


def nll_against_current_gate(
    nll: Array | None, current: Array | None, drives: Sequence[str], frames: Sequence[str]
) -> GateRecord:
    """Return the verdict on the paired difference of NLL (N,), candidate less current, on the same control crops.

    Refused where the 95 % bootstrap interval (by drive, else by frame) lies wholly above 0; undetermined for fewer than 5
    frames. drives, frames: of the crops. current: None where there is no current generation.
    """
    if nll is None or len(nll) < MIN_CROPS:
        return _undetermined("nll_against_current", nll)
    if current is None:
        return _undetermined("nll_against_current", nll, "there is no current generation")
    groups = grouping(drives, frames)
    count = len(set(groups))
    if count < MIN_GROUPS:
        few = f"the control crops are of {count} frames, at least {MIN_GROUPS} are needed to tell"
        return _undetermined("nll_against_current", nll, few)
    rng = np.random.default_rng(BOOTSTRAP_SEED)
    low, high = paired_interval(nll - current, groups, rng)
    worse = low > 0
    interval = f"the difference of NLL is within [{low:+.3f}, {high:+.3f}] nats (95 %)"
    return GateRecord(
        gate="nll_against_current",
        verdict="refused" if worse else "passed",
        candidate=float(nll.mean()),
        reference=float(current.mean()),
        difference=(low, high),
        reason=f"{interval}: {'worse than the current generation' if worse else 'not plainly worse'}",
    )


def _undetermined(gate: str, nll: Array | None, why: str | None = None) -> GateRecord:
    crops = 0 if nll is None else len(nll)
    return GateRecord(
        gate=gate,
        verdict="undetermined",
        candidate=float(nll.mean()) if nll is not None and crops else 0.0,
        reason=why or f"{crops} labelled crops of control drives, at least {MIN_CROPS} are needed to tell",
    )
