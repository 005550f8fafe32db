import math

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from quandary.geometry import Box3D, Calibration, ImageBox
from quandary_server.frustum.views import Views, image_boxes, image_overlaps, proposal_views

metres, extents = st.floats(-30, 30), st.floats(0.2, 15)
boxes_3d = st.tuples(metres, metres, st.floats(-5, 5), extents, extents, extents, st.floats(-math.pi, math.pi))

# reaches behind the camera, which stands at x = -0.3
ACROSS_THE_CAMERA = (2.0, 0.0, 0.0, 8.0, 2.0, 2.0, 0.2)
BEHIND = (-20.0, 0.0, 0.0, 4.0, 2.0, 2.0, 0.0)


def views_of(calibration: Calibration, count: int) -> Views:
    return proposal_views(calibration, [ImageBox(0.0, 0.0, 10.0, 10.0)] * count)


@settings(max_examples=200)
@given(st.lists(boxes_3d, min_size=2, max_size=6))
@example([ACROSS_THE_CAMERA, BEHIND])
def test_a_box_is_seen_as_the_calibration_sees_it(
    calibration: Calibration, rows: list[tuple[float, float, float, float, float, float, float]]
) -> None:
    found = image_boxes(np.array(rows), views_of(calibration, len(rows)))
    for row, box in zip(rows, found.tolist(), strict=True):
        expected = calibration.project_box(Box3D(*row))
        if expected is None:
            assert box == [0.0] * 4
        else:
            edges = (expected.left_px, expected.top_px, expected.right_px, expected.bottom_px)
            assert box == pytest.approx(edges, abs=1e-6)


def test_a_box_does_not_depend_on_its_neighbours_to_the_bit(calibration: Calibration) -> None:
    rng = np.random.default_rng(0)
    rows = np.column_stack([rng.uniform(-5, 40, (9, 3)), rng.uniform(0.5, 6, (9, 3)), rng.uniform(-3, 3, 9)])
    views = views_of(calibration, 9)
    together = image_boxes(rows, views)
    for which in ([0, 1], [3, 8, 4], [2]):
        alone = image_boxes(rows[which], views.take(np.array(which)))
        assert alone.tobytes() == together[which].tobytes()


def test_every_object_is_seen_by_its_own_camera(calibration: Calibration) -> None:
    turned = Calibration(calibration.projection * np.array([[2.0], [2.0], [1.0]]), calibration.lidar_to_camera, 2400, 800)
    views = Views.joined([views_of(calibration, 1), views_of(turned, 1)])
    near, far = image_boxes(np.array([[20.0, 1.0, 0.0, 4.0, 2.0, 1.5, 0.3]] * 2), views)
    assert far == pytest.approx(2 * near)


def test_a_leading_axis_of_samples_is_kept(calibration: Calibration) -> None:
    rows = np.array([[20.0, 1.0, 0.0, 4.0, 2.0, 1.5, 0.3], [15.0, -1.0, 0.0, 4.0, 2.0, 1.5, 0.3]])
    views = views_of(calibration, 2)
    samples = np.stack([rows, rows + 1, rows + 2])
    found = image_boxes(samples, views)
    assert found.shape == (3, 2, 4)
    assert found[1].tobytes() == image_boxes(rows + 1, views).tobytes()


def test_proposals_are_clipped_to_the_image(calibration: Calibration) -> None:
    views = proposal_views(calibration, [ImageBox(-20.0, 10.0, 40.0, 500.0)])
    assert views.proposals.tolist() == [[0.0, 10.0, 40.0, 400.0]]


def test_overlaps() -> None:
    first = np.array([[0.0, 0.0, 2.0, 2.0], [0.0, 0.0, 1.0, 1.0], [0.0, 0.0, 4.0, 4.0], [1.0, 1.0, 2.0, 2.0]])
    second = np.array([[1.0, 1.0, 3.0, 3.0], [5.0, 5.0, 6.0, 6.0], [0.0, 0.0, 4.0, 4.0], [0.0, 0.0, 0.0, 0.0]])
    assert image_overlaps(first, second) == pytest.approx([1 / 7, 0.0, 1.0, 0.0])
