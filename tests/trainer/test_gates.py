import numpy as np
import pytest

from quandary_server.trainer.gates import nll_against_current_gate, nll_floor_gate, parity_gate

COUNT = 200
DRIVES = ["one"] * COUNT
FRAMES = [f"f{i // 4}" for i in range(COUNT)]


def noise(mean: float, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(mean, 0.3, COUNT)


def test_parity_is_the_worst_members() -> None:
    assert parity_gate([1e-6, 5e-5]).verdict == "passed"
    refused = parity_gate([1e-6, 2e-3])
    assert (refused.verdict, refused.candidate) == ("refused", 2e-3)


@pytest.mark.parametrize(("mean", "verdict"), [(0.5, "passed"), (2.0, "refused")])
def test_the_floor(mean: float, verdict: str) -> None:
    gate = nll_floor_gate(noise(mean), floor=1.0)
    assert gate.verdict == verdict
    assert gate.candidate == pytest.approx(mean, abs=0.1)
    assert gate.reference == 1.0


def test_too_few_crops_gate_nothing() -> None:
    assert nll_floor_gate(noise(9.0)[:99], floor=1.0).verdict == "undetermined"
    assert nll_floor_gate(None, floor=1.0).verdict == "undetermined"
    few = nll_against_current_gate(noise(9.0)[:99], noise(0.1)[:99], DRIVES[:99], FRAMES[:99])
    assert few.verdict == "undetermined"
    assert "99 labelled crops" in few.reason


def test_without_a_current_generation_there_is_nothing_to_be_worse_than() -> None:
    gate = nll_against_current_gate(noise(9.0), None, DRIVES, FRAMES)
    assert (gate.verdict, gate.reason) == ("undetermined", "there is no current generation")


@pytest.mark.parametrize(("mine", "theirs", "verdict"), [(0.5, 1.0, "passed"), (1.0, 1.0, "passed"), (1.5, 1.0, "refused")])
def test_against_the_current_generation(mine: float, theirs: float, verdict: str) -> None:
    gate = nll_against_current_gate(noise(mine, 1), noise(theirs, 2), DRIVES, FRAMES)
    assert gate.verdict == verdict
    assert gate.difference is not None
    low, high = gate.difference
    assert low < mine - theirs < high or verdict == "passed"
    assert (low > 0) == (verdict == "refused")


def test_one_frame_that_is_much_worse_decides_nothing() -> None:
    current = noise(1.0)
    candidate = current.copy()
    candidate[:4] += 50.0
    assert nll_against_current_gate(candidate, current, DRIVES, FRAMES).verdict == "passed"


@pytest.mark.parametrize(("frames", "verdict"), [(4, "undetermined"), (5, "refused")])
def test_fewer_than_five_frames_gate_nothing(frames: int, verdict: str) -> None:
    names = [f"f{i % frames}" for i in range(COUNT)]
    gate = nll_against_current_gate(noise(9.0, 1), noise(0.1, 2), DRIVES, names)
    assert gate.verdict == verdict
    assert gate.difference is not None or "of 4 frames, at least 5" in gate.reason
