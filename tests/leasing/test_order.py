"""The lease order, and that its bytes sort as it does."""

import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quandary.errors import InvalidArgument
from quandary_server.leasing.order import Place, PriorityBand, epoch_and_rank, epoch_of, ranks_of

PLACES = st.builds(
    Place,
    frame_id=st.text("AZaz09._-", min_size=1, max_size=4),
    shuffle=st.one_of(st.integers(0, 2), st.integers(0, 2**63 - 1)),
    score=st.one_of(st.none(), st.sampled_from([0.0, -0.0, 1.0]), st.floats(allow_nan=False, allow_infinity=False)),
    rank=st.one_of(st.none(), st.integers(0, 2), st.integers(0, 2**32 - 1)),
    epoch=st.one_of(st.integers(0, 2), st.integers(0, 2**31 - 1)),
    band=st.sampled_from(PriorityBand),
    pinned=st.booleans(),
)


def test_each_rule_stands_before_the_next() -> None:
    in_order = [
        Place("f", 9, pinned=True),
        Place("e", 9, band=PriorityBand.SAFETY),
        Place("d", 9, band=PriorityBand.CAMPAIGN),
        Place("d", 9, score=0.1, rank=7, epoch=3),
        Place("c", 9, score=0.1, rank=0, epoch=4),
        Place("b", 9, score=0.9, rank=1, epoch=4),
        Place("a", 9, score=0.9),
        Place("a", 9, score=0.2),
        Place("a", 1),
        Place("a", 2),
        Place("b", 2),
    ]
    assert all(one.order() < other.order() for one, other in pairwise(in_order))
    assert all(one.key() < other.key() for one, other in pairwise(in_order))


@given(PLACES, PLACES)
def test_the_bytes_sort_as_the_order_does(one: Place, other: Place) -> None:
    assert (one.key() < other.key()) == (one.order() < other.order())
    assert (one.key() == other.key()) == (one.order() == other.order())


@given(st.integers(0, 2**31 - 1), st.integers(0, 2**32 - 1))
def test_epoch_and_rank_are_one_number_and_two_again(epoch: int, rank: int) -> None:
    number = Place("f", 0, rank=rank, epoch=epoch).rank_in_epoch
    assert number is not None
    assert epoch_and_rank(number) == (epoch, rank)
    first, last = ranks_of(epoch)
    assert first <= number <= last < 2**63


def test_each_query_has_a_smaller_epoch_and_none_too_many() -> None:
    assert epoch_of(1) > epoch_of(2) > 0
    assert epoch_of(2**31 - 1) == 1
    for number in (0, 2**31):
        with pytest.raises(InvalidArgument, match="query"):
            epoch_of(number)


def test_a_score_of_minus_zero_is_zero() -> None:
    assert Place("f", 0, score=-0.0).key() == Place("f", 0, score=0.0).key()


@pytest.mark.parametrize("score", [math.nan, math.inf, -math.inf])
def test_a_score_that_is_not_finite_has_no_place(score: float) -> None:
    with pytest.raises(InvalidArgument, match="score"):
        Place("f", 0, score=score)


@pytest.mark.parametrize(
    ("field", "place"), [("shuffle", (-1, 0)), ("shuffle", (2**63, 0)), ("rank", (0, -1)), ("rank", (0, 2**32))]
)
def test_numbers_that_a_database_cannot_hold_are_refused(field: str, place: tuple[int, int]) -> None:
    with pytest.raises(InvalidArgument, match=field):
        Place("f", place[0], rank=place[1])
