import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quandary.errors import InvalidArgument
from quandary.geometry import Box3D, Calibration, ImageBox
from quandary_server.frustum.anchor import Anchors, anchors_at, decode_boxes, encode_box, proposal_axes

angles = st.floats(-np.pi, np.pi)
metres = st.floats(-40, 40)
extents = st.floats(0.1, 20)


@given(metres, metres, st.floats(-3, 3), extents, extents, extents, angles, metres, metres, angles)
def test_decode_is_the_inverse_of_encode(
    x: float, y: float, z: float, length: float, width: float, height: float, yaw: float, ax: float, ay: float, bearing: float
) -> None:
    box = Box3D(x, y, z, length, width, height, yaw)
    centre = np.array([ax, ay, 0.5])
    values = encode_box(box, centre, bearing)
    back = decode_boxes(values[None], Anchors(centre[None], np.array([bearing])))[0]
    assert back.centre == pytest.approx(box.centre, abs=1e-9)
    assert back.extents == pytest.approx(box.extents)
    assert np.exp(1j * back.yaw_rad) == pytest.approx(np.exp(1j * yaw))


def test_offsets_are_along_and_across_the_axis() -> None:
    box = Box3D(0.0, 7.0, 1.0, 1.0, 1.0, 1.0, np.pi / 2)
    values = encode_box(box, np.array([0.0, 5.0, 0.0]), np.pi / 2)
    assert values == pytest.approx([2.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 1.0], abs=1e-12)


def test_the_anchor_projects_to_the_middle_of_its_box(calibration: Calibration) -> None:
    boxes = [ImageBox(100.0, 150.0, 180.0, 260.0), ImageBox(800.0, 100.0, 1100.0, 390.0)]
    axes = proposal_axes(calibration, boxes)
    anchors = anchors_at(axes, np.array([12.0, 35.0]))
    pixels, depth = calibration.project(anchors.centre)
    assert pixels == pytest.approx(np.array([[140.0, 205.0], [950.0, 245.0]]))
    assert (depth > 0).all()
    assert axes.along(anchors.centre, np.arange(2)) == pytest.approx([12.0, 35.0])


def test_absurd_extents_are_held_to_bounds() -> None:
    values = np.zeros((1, 10))
    values[0, 3:6] = [50.0, -50.0, 0.0]
    values[0, [7, 9]] = 1.0
    box = decode_boxes(values, Anchors(np.zeros((1, 3)), np.zeros(1)))[0]
    assert (box.length_m, box.width_m, box.height_m) == pytest.approx((60.0, 0.05, 1.0))


def test_a_ray_without_a_bearing_is_refused() -> None:
    upwards = Calibration(
        np.array([[700.0, 0, 600, 0], [0, 700, 200, 0], [0, 0, 1, 0]]),
        np.array([[1.0, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0]]),
        1200,
        400,
    )
    with pytest.raises(InvalidArgument) as caught:
        proposal_axes(upwards, [ImageBox(100.0, 100.0, 200.0, 300.0), ImageBox(590.0, 190.0, 610.0, 210.0)])
    assert caught.value.violations[0].field == "proposals[1].box"
