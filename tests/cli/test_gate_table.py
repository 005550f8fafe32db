"""Generations and verdicts as a person sees them."""

import pytest

from quandary.v1 import training_pb2
from quandary_server.cli.gate_table import print_gates, print_generation, state_of

PASSED = training_pb2.GateResult(
    gate="nll",
    verdict=training_pb2.GATE_VERDICT_PASSED,
    candidate=0.5123,
    reference=0.5,
    difference_low=-0.01,
    difference_high=0.034,
    floor=1.4,
    reason="the NLL is 0.512 nats against 0.500",
)
UNTOLD = training_pb2.GateResult(gate="latency", verdict=training_pb2.GATE_VERDICT_UNDETERMINED, reason="no current one")
PARITY = training_pb2.GateResult(gate="onnx_parity", verdict=training_pb2.GATE_VERDICT_PASSED, candidate=2.5e-6, reason="equal")


def test_each_gate_has_a_row_with_all_its_figures_and_no_figure_is_a_dash(capsys: pytest.CaptureFixture[str]) -> None:
    print_gates([PASSED, UNTOLD, PARITY])
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert lines[-3][:8] == ["nll", "passed", "0.512", "0.500", "-0.010", "to", "+0.034", "1.400"]
    assert lines[-2] == ["latency", "undetermined", "-", "-", "-", "-", "no", "current", "one"]
    assert lines[-1][:3] == ["onnx_parity", "passed", "2.5e-06"]


def test_a_run_that_was_not_judged_yet_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    print_gates([])
    assert capsys.readouterr().out == "no gate has judged yet\n"


def test_a_generation_is_shown_with_what_it_was_calibrated_on(capsys: pytest.CaptureFixture[str]) -> None:
    told = "not calibrated: of 12 labelled crops"
    generation = training_pb2.Generation(
        name="generations/g1", state=training_pb2.GENERATION_STATE_CURRENT, members=5, calibration=told, gates=[PASSED],
        metrics={"temperature": 1.0},
    )  # fmt: skip
    print_generation(generation)
    shown = capsys.readouterr().out
    assert "generations/g1 current; 5 members" in shown
    assert f"calibrated: {told}" not in shown
    assert told in shown
    assert "temperature" in shown


def test_what_is_pinned_says_so() -> None:
    found = training_pb2.Generation(state=training_pb2.GENERATION_STATE_CURRENT)
    assert state_of(found) == "current"
    found.pinned = True
    assert state_of(found) == "current, pinned"
