from dataclasses import replace

import numpy as np
import pytest

from quandary_server.selection.candidates import Taken

from .pools import pool, taken


def test_candidates_are_taken_in_the_order_given() -> None:
    found = pool([3.0, 1.0, 2.0], seconds=[5, 6, 7]).take(np.array([2, 0]))
    assert found.ids.tolist() == ["f02", "f00"]
    assert (found.scores.tolist(), found.seconds.tolist(), len(found)) == ([2.0, 3.0], [7.0, 5.0], 2)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("drives", np.array(["d"])),
        ("stamps_s", np.array([0.0, np.nan])),
        ("scores", np.array([[0.0], [1.0]])),
        ("scores", np.array([0.0, np.inf])),
        ("embeddings", np.zeros(2, np.float32)),
        ("embeddings", np.full((2, 3), np.nan, np.float32)),
        ("class_shares", np.array([[0.5], [-0.1]])),
        ("seconds", np.array([1.0, -1.0])),
        ("ids", np.array(["f", "f"])),
    ],
)
def test_what_is_wrong_with_candidates_is_named(field: str, value: np.ndarray) -> None:
    with pytest.raises(ValueError, match=f"^{field} must"):
        replace(pool([1.0, 2.0]), **{field: value})


def test_what_is_wrong_with_the_taken_is_named() -> None:
    with pytest.raises(ValueError, match=r"^stamps_s must be finite"):
        taken(["d"], [np.inf])
    with pytest.raises(ValueError, match=r"^embeddings must have 2 axes and 1 rows"):
        taken(["d"], [0.0], np.zeros((2, 3)))
    assert (len(Taken.nothing(5)), Taken.nothing(5).embeddings.shape) == (0, (0, 5))
