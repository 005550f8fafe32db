import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quandary import Acquisition, Estimator, InvalidArgument, MeaninglessRequest, Reduction, ScoringOptions
from quandary.option_messages import options_message, scoring_options
from quandary.v1 import scoring_pb2

NEED_SAMPLES = {
    Acquisition.MUTUAL_INFORMATION,
    Acquisition.VARIATION_RATIO,
    Acquisition.BOX_EPISTEMIC,
    Acquisition.INFORMATION_AND_BOX,
}

options = st.builds(
    ScoringOptions,
    estimator=st.sampled_from([found for found in Estimator if found is not Estimator.SOFTMAX]),
    acquisition=st.none() | st.sampled_from(Acquisition),
    reduction=st.sampled_from(Reduction),
    top_k=st.integers(1, 100),
    mc_samples=st.integers(2, 200),
    seed=st.none() | st.integers(0, 2**64 - 1),
    generation=st.sampled_from(["", "gen-000007"]),
    include_embedding=st.booleans(),
    include_objects=st.booleans(),
    jittered_proposals=st.integers(1, 32),
    escalate_share=st.floats(0, 1, exclude_min=True),
)


@pytest.mark.parametrize("acquisition", Acquisition)
def test_softmax_refuses_what_needs_samples(acquisition: Acquisition) -> None:
    assert acquisition.needs_samples == (acquisition in NEED_SAMPLES)
    if acquisition in NEED_SAMPLES:
        with pytest.raises(MeaninglessRequest) as error:
            ScoringOptions(Estimator.SOFTMAX, acquisition)
        assert error.value.violations[0].field == "acquisition"
    else:
        options = ScoringOptions(Estimator.SOFTMAX, acquisition, jittered_proposals=1)
        assert options.effective_acquisition is acquisition


def test_stability_needs_something_that_disturbs() -> None:
    with pytest.raises(MeaninglessRequest) as error:
        ScoringOptions(acquisition=Acquisition.STABILITY)
    assert error.value.violations[0].field == "jittered_proposals"


def test_the_default_acquisition_depends_on_the_estimator() -> None:
    assert ScoringOptions(Estimator.SOFTMAX).effective_acquisition is Acquisition.PREDICTIVE_ENTROPY
    assert ScoringOptions(Estimator.MC_DROPOUT).effective_acquisition is Acquisition.INFORMATION_AND_BOX


OUT_OF_BOUNDS = [
    ("top_k", 0),
    ("top_k", 101),
    ("mc_samples", 1),
    ("mc_samples", 201),
    ("seed", -1),
    ("seed", 2**64),
    ("generation", "generations/1"),
    ("jittered_proposals", -1),
    ("jittered_proposals", 33),
    ("escalate_share", 0.0),
    ("escalate_share", 1.01),
    ("escalate_share", math.nan),
]


@pytest.mark.parametrize(("field", "value"), OUT_OF_BOUNDS)
def test_refused_options(field: str, value: Any) -> None:
    with pytest.raises(InvalidArgument) as error:
        ScoringOptions(**{field: value})
    assert error.value.violations[0].field == field


@given(options)
def test_options_survive_the_wire(given_: ScoringOptions) -> None:
    message = scoring_pb2.ScoringOptions.FromString(options_message(given_).SerializeToString())
    assert scoring_options(message) == given_


def test_an_empty_message_is_the_default() -> None:
    assert scoring_options(scoring_pb2.ScoringOptions()) == ScoringOptions()


@pytest.mark.parametrize(
    ("prefix", "choices", "numbers"),
    [
        ("ESTIMATOR_", Estimator, scoring_pb2.Estimator),
        ("ACQUISITION_", Acquisition, scoring_pb2.Acquisition),
        ("REDUCTION_", Reduction, scoring_pb2.Reduction),
    ],
)
def test_every_choice_of_the_contract_has_its_name_here(prefix: str, choices: Any, numbers: Any) -> None:
    assert [f"{prefix}{choice.name}" for choice in choices] == numbers.keys()[1:]


# field number << 3, then 99: enumerations are open on the wire
@pytest.mark.parametrize(
    ("field", "wire"), [("estimator", b"\x08\x63"), ("acquisition", b"\x10\x63"), ("reduction", b"\x18\x63")]
)
def test_an_unknown_number_is_refused_by_field_and_value(field: str, wire: bytes) -> None:
    with pytest.raises(InvalidArgument) as error:
        scoring_options(scoring_pb2.ScoringOptions.FromString(wire))
    (violation,) = error.value.violations
    assert (violation.field, violation.value) == (field, "99")


def test_a_message_is_held_to_the_same_bounds() -> None:
    softmax, information = scoring_pb2.ESTIMATOR_SOFTMAX, scoring_pb2.ACQUISITION_MUTUAL_INFORMATION
    with pytest.raises(MeaninglessRequest):
        scoring_options(scoring_pb2.ScoringOptions(estimator=softmax, acquisition=information))
    with pytest.raises(InvalidArgument, match="mc_samples"):
        scoring_options(scoring_pb2.ScoringOptions(mc_samples=0))
