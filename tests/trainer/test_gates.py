"""Figures of a candidate against their floors and the current generation's, on assessments made by hand."""

from collections.abc import Sequence

import numpy as np
import pytest
from support.assessments import assessment, probabilities

from quandary.labels import CLASSES
from quandary_server.detector.assessment import Assessment
from quandary_server.registry.manifest import GateRecord
from quandary_server.settings.gates import GateSettings
from quandary_server.trainer.gates.figures import FIGURES, frequency_entropy
from quandary_server.trainer.gates.paired import figure_gate
from quandary_server.trainer.gates.parity import parity_gate

N = 400
DRIVES = np.array(["one"] * N)
FRAMES = np.array([f"f{i // 4}" for i in range(N)])
CLASSES_OF = np.arange(N) // 4 % 3
"""Three classes, alike within a frame."""

SETTINGS = GateSettings()
LENIENT = GateSettings(ause_over_random=100, ece_floor=1, nll_over_frequencies=9)


def answers(wrong: float, seed: int = 0, confidence: float | None = None, error_m: float = 1.0, count: int = N) -> Assessment:
    """Return answers of which a share is wrong, less sure where they are; calibrated by default."""
    rng = np.random.default_rng(seed)
    classes = CLASSES_OF[:count]
    miss = rng.random(count) < wrong
    predicted = np.where(miss, (classes + 1) % 3, classes)
    sure = np.where(miss, 0.5, 1 - wrong / 2) if confidence is None else np.full(count, confidence)
    errors = np.abs(rng.normal(0, error_m, count)) + 0.01
    return assessment(classes, probabilities(predicted, sure), errors, errors**2 * rng.lognormal(0, 0.3, count))


def gate_of(
    name: str,
    mine: Assessment,
    theirs: Assessment | None,
    settings: GateSettings = SETTINGS,
    frames: Sequence[str] | None = None,
) -> GateRecord:
    figure = next(figure for figure in FIGURES if figure.gate == name)
    count = len(mine.classes)
    named = FRAMES[:count] if frames is None else np.array(frames)
    return figure_gate(figure, mine, theirs, DRIVES[:count], named, settings)


def test_parity_is_the_worst_members() -> None:
    assert parity_gate([1e-6, 5e-5]).verdict == "passed"
    refused = parity_gate([1e-6, 2e-3])
    assert (refused.verdict, refused.candidate) == ("refused", 2e-3)


GOOD, POOR = answers(0.15, seed=1), answers(0.45, seed=2, error_m=2.0)
FLAT = assessment(CLASSES_OF, POOR.probs, np.nan_to_num(POOR.centre_error, nan=1.0), np.random.default_rng(3).random(N))
UNSURE = assessment(CLASSES_OF, probabilities(GOOD.predicted, np.where(GOOD.wrong > 0, 0.9, 0.6)), np.ones(N))


@pytest.mark.parametrize(
    ("gate", "worse"),
    [
        ("macro_recall", POOR),
        ("nll", POOR),
        ("ece", UNSURE),
        ("centre_error", POOR),
        ("ause_class", UNSURE),
        ("ause_centre", FLAT),
    ],
)
def test_what_is_wholly_worse_than_the_current_is_refused_and_the_other_way_round_passed(gate: str, worse: Assessment) -> None:
    refused = gate_of(gate, worse, GOOD, LENIENT)
    assert (refused.verdict, ": plainly worse than the current generation" in refused.reason) == ("refused", True)
    passed = gate_of(gate, GOOD, worse, LENIENT)
    assert passed.verdict == "passed"
    assert refused.difference is not None
    assert passed.difference == pytest.approx([-refused.difference[1], -refused.difference[0]], abs=0.05)
    assert (refused.candidate, refused.reference) == (passed.reference, passed.candidate)
    sign = -1 if gate == "macro_recall" else 1
    assert min(sign * end for end in refused.difference) > 0


def test_what_is_surely_worse_by_less_than_the_slack_passes() -> None:
    slightly = assessment(CLASSES_OF, GOOD.probs, 1.04 * np.nan_to_num(GOOD.centre_error))
    gate = gate_of("centre_error", slightly, GOOD)
    assert gate.difference is not None
    assert gate.difference[0] > 0
    assert (gate.verdict, "not plainly worse" in gate.reason) == ("passed", True)
    assert gate_of("centre_error", slightly, GOOD, GateSettings(slack=0)).verdict == "refused"


@pytest.mark.parametrize("figure", FIGURES, ids=lambda figure: figure.gate)
def test_equals_pass_with_a_difference_of_nothing(figure: object) -> None:
    gate = gate_of(figure.gate, GOOD, GOOD)  # type: ignore[attr-defined]
    assert (gate.verdict, gate.difference) == ("passed", (0.0, 0.0))


def test_figures_are_those_that_are_known() -> None:
    assert gate_of("macro_recall", GOOD, GOOD).candidate == pytest.approx(
        np.mean([1 - GOOD.wrong[c == CLASSES_OF].mean() for c in range(3)])
    )
    assert gate_of("nll", GOOD, GOOD).candidate == pytest.approx(GOOD.nll.mean())
    assert gate_of("centre_error", GOOD, GOOD).candidate == pytest.approx(GOOD.centre_error.mean())
    perfect = assessment(CLASSES_OF, GOOD.probs, GOOD.centre_error, GOOD.centre_error**2)
    assert gate_of("ause_centre", perfect, None).candidate == pytest.approx(0.0, abs=1e-9)


def test_floors_are_what_guessing_and_frequencies_give() -> None:
    assert gate_of("macro_recall", GOOD, None).floor == pytest.approx(1 / 3 + 0.1 * 2 / 3)
    assert gate_of("nll", GOOD, None).floor == pytest.approx(0.95 * np.log(3), abs=1e-3)
    assert gate_of("nll", GOOD, None, GateSettings(nll_floor=0.9)).floor == 0.9
    assert frequency_entropy(np.array([0, 0, 1, 1])) == pytest.approx(np.log(2))
    assert frequency_entropy(np.array([4, 4, 4])) == 0.0


def test_a_net_that_knows_no_more_than_frequencies_is_refused_with_no_current_one() -> None:
    rng = np.random.default_rng(0)
    probs = np.full((N, len(CLASSES)), 1e-3)
    probs[:, :3] = 1 / 3 + rng.uniform(-0.05, 0.05, (N, 3))
    guess = assessment(CLASSES_OF, probs / probs.sum(axis=1, keepdims=True))
    recall, nll = gate_of("macro_recall", guess, None), gate_of("nll", guess, None)
    assert (recall.verdict, nll.verdict) == ("refused", "refused")
    assert "plainly more than guessing" in recall.reason
    assert "how frequent the classes are" in nll.reason


@pytest.mark.parametrize(
    ("gate", "settings"),
    [
        ("ece", GateSettings(ece_floor=0.001)),
        ("centre_error", GateSettings(centre_floor_m=0.1)),
        ("ause_class", GateSettings(ause_over_random=1e-3)),
        ("ause_centre", GateSettings(ause_over_random=1e-3)),
    ],
)
def test_a_floor_refuses_also_what_is_better_than_the_current(gate: str, settings: GateSettings) -> None:
    refused = gate_of(gate, UNSURE if gate == "ause_class" else GOOD, POOR, settings)
    assert refused.verdict == "refused"
    assert refused.reference is not None
    assert "is asked for" in refused.reason


def test_without_a_current_generation_the_floors_judge() -> None:
    for figure in FIGURES:
        gate = gate_of(figure.gate, GOOD, None)
        assert (gate.verdict, gate.reference) == ("passed", None)
        assert "no current generation" in gate.reason


@pytest.mark.parametrize("figure", FIGURES, ids=lambda figure: figure.gate)
def test_too_few_crops_tell_nothing(figure: object) -> None:
    few = answers(0.9, count=99)
    gate = gate_of(figure.gate, few, few)  # type: ignore[attr-defined]
    assert (gate.verdict, gate.candidate) == ("undetermined", None)
    assert "at least 100 are needed" in gate.reason


def test_too_few_errors_tell_nothing_of_their_ranking() -> None:
    right = answers(0.02)
    assert 0 < right.wrong.sum() < 20
    gate = gate_of("ause_class", right, GOOD)
    assert (gate.verdict, gate.reason) == (
        "undetermined",
        f"{right.wrong.sum():.0f} errors on control drives, at least 20 are needed to tell",
    )
    assert "the current generation has" in gate_of("ause_class", GOOD, right).reason
    assert gate_of("macro_recall", right, POOR).verdict == "passed"


def test_rare_classes_do_not_enter_the_macro_recall() -> None:
    classes = np.where(np.arange(N) < 9, 5, CLASSES_OF)
    mine = assessment(classes, probabilities(CLASSES_OF, np.full(N, 0.9)))
    assert gate_of("macro_recall", mine, None).candidate == 1.0


def test_one_frame_that_is_much_worse_decides_nothing() -> None:
    odd = GOOD.probs.copy()
    odd[:4] = probabilities((CLASSES_OF[:4] + 1) % 3, np.full(4, 1 - 1e-9))
    assert gate_of("nll", assessment(CLASSES_OF, odd), GOOD).verdict == "passed"


@pytest.mark.parametrize(("frames", "verdict"), [(4, "undetermined"), (5, "refused")])
def test_fewer_than_five_frames_gate_nothing(frames: int, verdict: str) -> None:
    gate = gate_of("nll", POOR, GOOD, LENIENT, frames=[f"f{i % frames}" for i in range(N)])
    assert gate.verdict == verdict
    assert gate.difference is not None or "of 4 frames, at least 5" in gate.reason


def test_errors_of_one_frame_alone_are_not_enough() -> None:
    predicted = CLASSES_OF.copy()
    predicted[:25] = (CLASSES_OF[:25] + 1) % 3
    mine = assessment(CLASSES_OF, probabilities(predicted, np.linspace(0.5, 0.9, N)))
    frames = ["one"] * 25 + [f"f{i // 25}" for i in range(N - 25)]
    gate = gate_of("ause_class", mine, mine, frames=frames)
    assert (gate.verdict, gate.reason) == ("undetermined", "the errors are in too few drives or frames to tell")
