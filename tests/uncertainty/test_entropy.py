import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from quandary_server.uncertainty.entropy import (
    entropy,
    expected_entropy,
    margin,
    mutual_information,
    predictive_entropy,
)

T, D, C = 4, 3, 5


def distributions(samples: int = T, detections: int = D, classes: int = C) -> st.SearchStrategy[np.ndarray]:
    raw = arrays(np.float64, (samples, detections, classes), elements=st.floats(1e-6, 1.0))
    return raw.map(lambda values: values / values.sum(axis=-1, keepdims=True))


def test_entropy_of_certainty_is_zero_and_of_ignorance_ln_c() -> None:
    assert entropy(np.array([[1.0, 0.0, 0.0]])) == pytest.approx([0.0])
    assert entropy(np.full((2, 7), 1 / 7)) == pytest.approx([np.log(7)] * 2)


def test_members_sure_of_different_classes_disagree_by_ln_2() -> None:
    probs = np.array([[[1.0, 0.0, 0.0]], [[0.0, 1.0, 0.0]]])
    assert predictive_entropy(probs) == pytest.approx([np.log(2)])
    assert expected_entropy(probs) == pytest.approx([0.0])
    assert mutual_information(probs) == pytest.approx([np.log(2)])


def test_members_that_share_their_doubt_disagree_by_nothing() -> None:
    probs = np.full((T, D, 2), 0.5)
    assert predictive_entropy(probs) == pytest.approx([np.log(2)] * D)
    assert mutual_information(probs) == pytest.approx([0.0] * D)


def test_one_sample_has_no_mutual_information() -> None:
    with pytest.raises(ValueError, match="at least 2 samples"):
        mutual_information(np.full((1, D, C), 1 / C))


def test_margin_is_one_for_certainty_and_zero_for_a_tie() -> None:
    assert margin(np.array([[1.0, 0.0, 0.0], [0.4, 0.4, 0.2]])) == pytest.approx([1.0, 0.0])


@given(distributions())
def test_bounds(probs: np.ndarray) -> None:
    total, aleatoric, epistemic = predictive_entropy(probs), expected_entropy(probs), mutual_information(probs)
    assert total.shape == aleatoric.shape == epistemic.shape == (D,)
    assert (epistemic >= 0).all()
    assert (aleatoric <= total + 1e-12).all()
    assert (total <= np.log(C) + 1e-12).all()
