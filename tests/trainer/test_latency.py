"""What a crop costs, by a clock that is turned by hand and by that of the thread."""

import numpy as np
import pytest

from quandary.options import ScoringOptions
from quandary_server.inference.generation import LoadedGeneration
from quandary_server.registry.directory import Artefacts
from quandary_server.trainer.gates.latency import CROPS, ROUNDS, Costs, latency_gate, measured_costs

BOTH = (5, 5)


def costs(ratio: float, scatter: float = 0.1) -> Costs:
    rng = np.random.default_rng(0)
    current = rng.lognormal(0, scatter, ROUNDS)
    return Costs(ratio * current * rng.lognormal(0, scatter, ROUNDS), current)


@pytest.mark.parametrize(("ratio", "verdict"), [(0.5, "passed"), (1.0, "passed"), (1.45, "passed"), (2.0, "refused")])
def test_only_what_is_plainly_above_the_ratio_is_refused(ratio: float, verdict: str) -> None:
    found = costs(ratio)
    gate = latency_gate(found, 1.5, BOTH)
    assert gate.verdict == verdict
    assert gate.candidate == pytest.approx(ratio, rel=0.2)
    assert gate.reference == pytest.approx(1.0, rel=0.2)
    assert gate.floor == pytest.approx(1.5 * found.current_ms.mean())


def test_noise_refuses_nobody() -> None:
    assert latency_gate(costs(1.6, scatter=0.8), 1.5, BOTH).verdict == "passed"


def test_the_reason_names_the_members() -> None:
    assert "5 members against 2" in latency_gate(costs(2.5), 1.5, (5, 2)).reason


def test_without_a_current_generation_there_is_nothing_to_tell() -> None:
    gate = latency_gate(None, 1.5, BOTH)
    assert (gate.verdict, gate.reason) == ("undetermined", "there is no current generation to compare with")


def test_both_are_measured_in_turns_and_warmed_up(generation: Artefacts) -> None:
    readings = iter(np.arange(4 * (ROUNDS + 1)).tolist())
    loaded = LoadedGeneration(generation)
    found = measured_costs(loaded, loaded, ScoringOptions(mc_samples=2), clock=lambda: next(readings))
    assert found.candidate_ms == pytest.approx([1e3 / CROPS] * ROUNDS)
    assert found.current_ms == pytest.approx([1e3 / CROPS] * ROUNDS)
    assert next(readings, None) is None
