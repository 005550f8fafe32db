import pickle
from datetime import timedelta

import pytest

from quandary import InvalidArgument, MeaninglessRequest, Overloaded, QuandaryError, Violation
from quandary.errors import TooLittleData, shortened, within


def test_a_violation_names_field_value_and_bound() -> None:
    error = InvalidArgument.of("top_k", 0, "1 to 100")
    assert error.violations == (Violation("top_k", "0", "1 to 100"),)
    assert str(error) == error.message == "top_k is 0, must be 1 to 100"


def test_several_violations_are_one_error() -> None:
    error = InvalidArgument.all([Violation("a", "1", "2"), Violation("b", "3", "4")])
    assert error.message == "a is 1, must be 2; b is 3, must be 4"


def test_a_long_value_is_shortened_to_120_characters() -> None:
    assert shortened("x" * 120) == "x" * 120
    assert shortened("x" * 121) == "x" * 119 + "…"


def test_wrong_arguments_are_value_errors() -> None:
    with pytest.raises(ValueError, match="top_k"):
        raise InvalidArgument.of("top_k", 0, "1 to 100")


def test_paths_grow_outwards_and_keep_the_class() -> None:
    with pytest.raises(MeaninglessRequest) as caught, within("frames[3]"), within("options"):
        raise MeaninglessRequest.of("acquisition", "MARGIN", "another")
    assert caught.value.violations[0].field == "frames[3].options.acquisition"


def test_a_nameless_field_takes_the_path_itself() -> None:
    with pytest.raises(InvalidArgument) as caught, within("stamp"):
        raise InvalidArgument.of("", "99 s", "less")
    assert caught.value.violations[0].field == "stamp"


def test_an_error_without_fields_keeps_its_message() -> None:
    with pytest.raises(InvalidArgument, match="no such thing"), within("frames[3]"):
        raise InvalidArgument("no such thing")


def test_an_error_keeps_its_class_and_its_own_words_below_a_path() -> None:
    sent = TooLittleData("too few to train on: crops is 3, must be 5", violations=[Violation("crops", "3", "5")])
    with pytest.raises(TooLittleData, match=r"^too few to train on: run\.crops is 3, must be 5$"), within("run"):
        raise sent


def test_other_errors_pass_through_a_path() -> None:
    with pytest.raises(KeyError), within("frames[3]"):
        raise KeyError("x")


@pytest.mark.parametrize(
    "error", [InvalidArgument.of("a", 1, "2"), Overloaded("full", retry_after=timedelta(seconds=2)), QuandaryError("x")]
)
def test_errors_survive_pickling(error: QuandaryError) -> None:
    found = pickle.loads(pickle.dumps(error))
    assert type(found) is type(error)
    assert (found.message, found.violations, found.retry_after) == (error.message, error.violations, error.retry_after)
