"""Labels of a picture lie apart, inside, and near to what they label."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from quandary_server.cli.label_layout import overlaps, placed

BOUNDS = np.array([0.0, 0.0, 1000.0, 800.0])
NOTHING = np.empty((0, 4))


def boxes(centres: NDArray[np.float64], sizes: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.concatenate([centres - sizes / 2, centres + sizes / 2], axis=1)


points = st.lists(st.tuples(st.floats(0, 1000), st.floats(0, 800)), min_size=1, max_size=25)


@given(points, st.booleans())
def test_labels_never_overlap_where_there_is_room_and_stay_inside(found: list[tuple[float, float]], heaped: bool) -> None:
    anchors = np.array([found[0]] * len(found) if heaped else found)
    sizes = np.tile([90.0, 16.0], (len(anchors), 1))
    taken = boxes(placed(anchors, sizes, BOUNDS, NOTHING), sizes)
    shared = overlaps(taken, taken)
    np.fill_diagonal(shared, 0.0)
    assert shared.max() == pytest.approx(0.0, abs=1e-6)
    assert (taken[:, :2] >= -1e-9).all()
    assert (taken[:, 2:] <= BOUNDS[2:] + 1e-9).all()


def test_a_label_alone_lies_beside_its_anchor_and_does_not_cover_it() -> None:
    anchor, size = np.array([[500.0, 400.0]]), np.array([[90.0, 16.0]])
    (centre,) = placed(anchor, size, BOUNDS, NOTHING)
    assert np.linalg.norm(centre - anchor[0]) < 60
    left, bottom, right, top = boxes(centre[None], size)[0]
    assert not (left < 500 < right and bottom < 400 < top)


def test_a_label_rather_covers_nothing_that_is_drawn() -> None:
    anchor, size = np.array([[500.0, 400.0]]), np.array([[90.0, 16.0]])
    above = np.array([[400.0, 402.0, 600.0, 460.0]])
    (centre,) = placed(anchor, size, BOUNDS, above)
    assert overlaps(boxes(centre[None], size), above).sum() < 90 * 16 / 4


def test_no_label_needs_no_place() -> None:
    assert placed(np.empty((0, 2)), np.empty((0, 2)), BOUNDS, NOTHING).shape == (0, 2)


def test_boxes_share_the_area_that_lies_in_both() -> None:
    assert overlaps(np.array([[0.0, 0, 4, 4]]), np.array([[2.0, 1, 8, 3], [4, 0, 5, 5]])).tolist() == [[4.0, 0.0]]
