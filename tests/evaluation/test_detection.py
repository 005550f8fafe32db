import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quandary_server.evaluation.detection import auroc

SCORES = st.lists(st.integers(-5, 5), min_size=1, max_size=12)


@pytest.mark.parametrize(
    ("positive", "negative", "expected"),
    [
        ([2.0, 3.0], [0.0, 1.0, 1.5], 1.0),
        ([0.0, 1.0], [2.0, 3.0, 3.5], 0.0),
        ([1.0, 1.0], [1.0, 1.0, 1.0], 0.5),
        ([1.0, 3.0], [2.0], 0.5),
        ([1.0, 2.0], [1.0, 0.0, 3.0], (0.5 + 1 + 0 + 1 + 1 + 0) / 6),
    ],
)
def test_closed_forms(positive: list[float], negative: list[float], expected: float) -> None:
    assert auroc(np.array(positive), np.array(negative)) == pytest.approx(expected)


@given(SCORES, SCORES)
def test_it_is_the_share_of_pairs_in_order(positive: list[int], negative: list[int]) -> None:
    p, n = np.array(positive, float), np.array(negative, float)
    pairs = (p[:, None] > n) + 0.5 * (p[:, None] == n)
    assert auroc(p, n) == pytest.approx(pairs.mean())
    assert auroc(p, n) + auroc(n, p) == pytest.approx(1.0)


@given(SCORES, SCORES)
def test_only_the_order_counts(positive: list[int], negative: list[int]) -> None:
    p, n = np.array(positive, float), np.array(negative, float)
    assert auroc(np.exp(p), np.exp(n)) == pytest.approx(auroc(p, n))


def test_an_empty_side_and_a_score_that_is_none_are_refused() -> None:
    with pytest.raises(ValueError, match="0 positives and 2 negatives"):
        auroc(np.empty(0), np.ones(2))
    with pytest.raises(ValueError, match="2 positives and 0 negatives"):
        auroc(np.ones(2), np.empty(0))
    with pytest.raises(ValueError, match="finite"):
        auroc(np.array([1.0, np.nan]), np.ones(2))
