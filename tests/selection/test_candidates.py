from dataclasses import replace

import numpy as np
import pytest

from quandary_server.selection.candidates import Taken
from quandary_server.selection.objects import Objects

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
        replace(pool([1.0, 2.0]), **{field: value})  # type: ignore[arg-type]


def test_what_is_wrong_with_the_taken_is_named() -> None:
    with pytest.raises(ValueError, match=r"^stamps_s must be finite"):
        taken(["d"], [np.inf])
    with pytest.raises(ValueError, match=r"^embeddings must have 2 axes and 1 rows"):
        taken(["d"], [0.0], np.zeros((2, 3)))
    assert (len(Taken.nothing(5)), Taken.nothing(5).embeddings.shape) == (0, (0, 5))


def test_objects_and_positions_go_with_their_frames() -> None:
    objects = Objects(np.array([0, 0, 2]), np.array([0.1, 0.2, 0.3]), np.eye(3, dtype=np.float32))
    found = replace(pool([1.0, 2.0, 3.0]), objects=objects, positions_m=np.arange(9.0).reshape(3, 3))
    moved = found.take(np.array([2, 0]))
    assert (moved.objects.frames.tolist(), moved.objects.scores.tolist()) == ([0, 1, 1], [0.3, 0.1, 0.2])
    assert moved.positions_m is not None
    assert moved.positions_m[:, 0].tolist() == [6.0, 0.0]
    assert objects.total(4).tolist() == pytest.approx([0.3, 0.0, 0.3, 0.0])


@pytest.mark.parametrize(
    ("frames", "scores", "problem"),
    [
        ([1, 0], [0.0, 0.0], "frames must ascend"),
        ([0, 9], [0.0, 0.0], "frames must be below the 2 frames, the last is 9"),
        ([0, 1], [0.0, -1.0], "scores must be >= 0"),
        ([0, 1], [0.0], "scores must have 1 axes and 2 rows"),
        ([0, 1], [0.0, np.inf], "scores and objects.embeddings must be finite"),
    ],
)
def test_what_is_wrong_with_objects_is_named(frames: list[int], scores: list[float], problem: str) -> None:
    with pytest.raises(ValueError, match=f"^objects.{problem}"):
        replace(pool([1.0, 2.0]), objects=Objects(np.array(frames), np.array(scores), np.zeros((2, 3), np.float32)))


def test_of_the_taken_some_are_leased_and_some_hold_off() -> None:
    before = replace(taken(["a", "b"], [0.0, 1.0]), folds=np.array([True, False]))
    assert before.that_are("folds").drives.tolist() == ["a"]
    assert len(before.that_are("leased")) == 0
