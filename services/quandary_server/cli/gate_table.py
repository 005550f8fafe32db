"""A generation, and how it did at the gates, for people."""

from collections.abc import Iterable

from quandary.v1 import training_pb2
from quandary_server.cli.output import out, print_table

NONE = "-"


def print_gates(gates: Iterable[training_pb2.GateResult]) -> None:
    """Print a row for each gate: the figure, what it was held against, the verdict and why."""
    columns = ["gate", "verdict", "#candidate", "#current", "?#difference\n(95 %)", "?#floor", "~why"]
    print_table(columns, map(_row, gates), empty="no gate has judged yet")


def print_generation(generation: training_pb2.Generation) -> None:
    """Print what a generation is made of, how it did at the gates, and its figures."""
    made = generation.create_time.ToDatetime().isoformat(sep=" ", timespec="seconds")
    out.print(f"{generation.name} {state_of(generation)}; {generation.members} members; made {made} UTC", markup=False)
    out.print(f"trained on {generation.training_crops} crops by {generation.run or 'no run'}", markup=False)
    out.print(calibration_of(generation), markup=False)
    out.print()
    print_gates(generation.gates)
    out.print()
    figures = sorted(generation.metrics.items())
    print_table(["figure", "#value"], [(name, _number(value)) for name, value in figures], empty="no figures")


def calibration_of(generation: training_pb2.Generation) -> str:
    """Return what it was calibrated on, in words; generations of before calibration say nothing of it."""
    told = generation.calibration or "not calibrated: it was made before generations were"
    return told if told.startswith("not ") else f"calibrated {told}"


def state_of(generation: training_pb2.Generation) -> str:
    """Return its state in small letters, registered, current or refused, and whether it is pinned."""
    state = training_pb2.GenerationState.Name(generation.state).removeprefix("GENERATION_STATE_").lower()
    return f"{state}, pinned" if generation.pinned else state


def _row(gate: training_pb2.GateResult) -> tuple[str, ...]:
    interval = NONE
    if gate.HasField("difference_low") and gate.HasField("difference_high"):
        interval = f"{gate.difference_low:+.3f} to {gate.difference_high:+.3f}"
    return (
        gate.gate,
        training_pb2.GateVerdict.Name(gate.verdict).removeprefix("GATE_VERDICT_").lower(),
        _number(gate.candidate) if gate.HasField("candidate") else NONE,
        _number(gate.reference) if gate.HasField("reference") else NONE,
        interval,
        _number(gate.floor) if gate.HasField("floor") else NONE,
        gate.reason,
    )


def _number(value: float) -> str:
    """Return three decimals, or two digits of what is smaller."""
    return f"{value:.3f}" if value == 0 or abs(value) >= 0.001 else f"{value:.1e}"
