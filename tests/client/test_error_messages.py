import re
from datetime import timedelta
from itertools import pairwise
from pathlib import Path

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quandary import errors
from quandary.error_messages import STATUS_NUMBERS, error_message, quandary_error, result_score
from quandary.errors import InvalidArgument, QuandaryError, Violation
from quandary.v1 import error_pb2, scoring_pb2

CONTRACT = Path(__file__).resolve().parents[2] / "protos/quandary/v1/error.proto"
STATUS_BY_REASON = {
    reason: status
    for status, reason in re.findall(r"// .*?([A-Z_]+)\.\n\s+ERROR_REASON_([A-Z_]+) = [1-9]", CONTRACT.read_text())
}
CLASSES = [found for found in vars(errors).values() if isinstance(found, type) and issubclass(found, QuandaryError)]


def leaf(reason: str) -> type[QuandaryError]:
    """The most specific class of a reason; fails where two classes of a reason are not on one line of descent."""
    line = sorted((found for found in CLASSES if found.reason == reason), key=lambda found: len(found.__mro__))
    assert line, f"no class for {reason}"
    assert all(issubclass(special, general) for general, special in pairwise(line))
    return line[-1]


def test_the_contract_gives_each_reason_a_status() -> None:
    assert set(STATUS_BY_REASON) == {name.removeprefix("ERROR_REASON_") for name in error_pb2.ErrorReason.keys()[1:]}


@pytest.mark.parametrize("reason", STATUS_BY_REASON)
def test_each_reason_has_one_class_of_the_contracts_status(reason: str) -> None:
    found = leaf(reason)
    assert found.status == STATUS_BY_REASON[reason]
    message = error_pb2.Error(reason=error_pb2.ErrorReason.Value(f"ERROR_REASON_{reason}"), message="why")
    assert type(quandary_error(message)) is found


@pytest.mark.parametrize("found", CLASSES)
def test_each_class_comes_back_as_itself_or_as_a_more_specific_one(found: type[QuandaryError]) -> None:
    again = quandary_error(error_message(found("why")))
    assert isinstance(again, found)
    assert again.message == "why"
    if found.reason != "UNSPECIFIED":
        assert type(again) is leaf(found.reason)


@pytest.mark.parametrize(
    ("status", "found"),
    [
        ("FAILED_PRECONDITION", errors.FailedPrecondition),
        ("RESOURCE_EXHAUSTED", errors.ResourceExhausted),
        ("ABORTED", errors.Aborted),
        ("INVALID_ARGUMENT", errors.InvalidArgument),
        ("INTERNAL", errors.Internal),
        ("CANCELLED", errors.Cancelled),
        ("UNIMPLEMENTED", errors.NotServedYet),
        ("OUT_OF_RANGE", QuandaryError),
        ("UNKNOWN", QuandaryError),
    ],
)
def test_a_bare_status_means_the_general_class(status: str, found: type[QuandaryError]) -> None:
    assert type(quandary_error(error_pb2.Error(status_code=STATUS_NUMBERS[status]))) is found


def test_a_reason_of_a_newer_server_falls_back_to_its_status() -> None:
    message = error_pb2.Error.FromString(error_pb2.Error(status_code=5, message="why").SerializeToString() + b"\x10\xe7\x07")
    assert message.reason == 999
    assert type(quandary_error(message)) is errors.NotFound


def test_status_numbers_are_those_of_grpc() -> None:
    assert {code.name: code.value[0] for code in grpc.StatusCode} == STATUS_NUMBERS


texts = st.text(max_size=20)


@given(
    st.lists(st.builds(Violation, texts, texts, texts), max_size=3),
    st.none() | st.timedeltas(timedelta(), timedelta(days=1)),
    texts,
)
def test_facts_survive_the_wire(violations: list[Violation], retry_after: timedelta | None, message: str) -> None:
    error = InvalidArgument(message, violations=violations, retry_after=retry_after)
    found = quandary_error(error_pb2.Error.FromString(error_message(error).SerializeToString()))
    assert (found.message, list(found.violations), found.retry_after) == (message, violations, retry_after)


def test_the_score_of_a_result() -> None:
    result = scoring_pb2.FrameResult(frame_id="f", score=scoring_pb2.FrameScore(score=0.5))
    assert result_score(result).score == 0.5


def test_a_refused_frame_raises_its_error() -> None:
    result = scoring_pb2.FrameResult(frame_id="f", error=error_message(errors.NonFiniteOutput("frame f: NaN")))
    with pytest.raises(errors.NonFiniteOutput, match="frame f: NaN"):
        result_score(result)


def test_a_result_without_outcome_is_a_fault() -> None:
    with pytest.raises(errors.Internal, match="neither"):
        result_score(scoring_pb2.FrameResult(frame_id="f"))
