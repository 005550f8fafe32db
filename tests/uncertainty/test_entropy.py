import numpy as np
import pytest

from quandary_server.uncertainty.entropy import entropy, margin


def test_entropy_of_certainty_is_zero_and_of_ignorance_ln_c() -> None:
    assert entropy(np.array([[1.0, 0.0, 0.0]])) == pytest.approx([0.0])
    assert entropy(np.full((2, 7), 1 / 7)) == pytest.approx([np.log(7)] * 2)


def test_margin_is_one_for_certainty_and_zero_for_a_tie() -> None:
    assert margin(np.array([[1.0, 0.0, 0.0], [0.4, 0.4, 0.2]])) == pytest.approx([1.0, 0.0])
