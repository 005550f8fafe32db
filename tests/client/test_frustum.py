import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from quandary import BOX_GROWTH, Calibration, ImageBox, crop_frusta


def test_points_in_the_grown_box_are_kept_in_order(calibration: Calibration) -> None:
    # at 10 m a metre is 70 px; the box of 100 px about the centre grows to 110: 55 px are 0.786 m
    points = np.array([[10, 0.78, 0, 1], [10, 0.79, 0, 2], [10, 0, -0.78, 3], [10, 0, 0.79, 4], [20, 0, 0, 5]], np.float32)
    (crop,) = crop_frusta(points, calibration, [ImageBox(550, 130, 650, 230)])
    assert crop[:, 3].tolist() == [1, 3, 5]
    assert crop.dtype == np.float32


def test_points_behind_the_camera_are_left_out(calibration: Calibration) -> None:
    points = np.array([[-10, 0, 0, 1], [0.05, 0, 0, 2], [0.2, 0, 0, 3]], np.float32)
    (crop,) = crop_frusta(points, calibration, [ImageBox(550, 130, 650, 230)])
    assert crop[:, 3].tolist() == [3]


def test_an_empty_cloud_and_no_boxes(calibration: Calibration) -> None:
    empty = np.empty((0, 4), np.float32)
    (crop,) = crop_frusta(empty, calibration, [ImageBox(550, 130, 650, 230)])
    assert crop.shape == (0, 4)
    assert crop_frusta(empty, calibration, []) == []


@given(st.integers(0, 2**32 - 1), st.floats(0, 1000), st.floats(0, 250), st.floats(20, 200), st.floats(20, 100))
def test_a_crop_of_a_crop_is_the_crop(seed: int, x: float, y: float, width: float, height: float) -> None:
    projection = np.array([[700.0, 0, 600, 0], [0, 700, 180, 0], [0, 0, 1, 0]])
    lidar_to_camera = np.array([[0.0, -1, 0, 0], [0, 0, -1, 0], [1, 0, 0, 0]])
    calibration = Calibration(projection, lidar_to_camera, 1200, 360)
    points = np.random.default_rng(seed).uniform((-20, -20, -3, 0), (60, 20, 3, 1), (300, 4)).astype(np.float32)
    box = ImageBox(x, y, x + width, y + height)
    (crop,) = crop_frusta(points, calibration, [box])
    (again,) = crop_frusta(crop, calibration, [box])
    assert again.tobytes() == crop.tobytes()

    grown = box.grown(BOX_GROWTH)
    pixels, depth = calibration.project(points)
    u, v = pixels.T
    inside = (depth > 0.1) & (u >= grown.left_px) & (u < grown.right_px) & (v >= grown.top_px) & (v < grown.bottom_px)
    assert crop.tobytes() == points[inside].tobytes()


def test_each_of_many_boxes_gets_the_crop_that_it_gets_alone(calibration: Calibration) -> None:
    points = np.random.default_rng(0).uniform((-20, 0, -3, 0), (60, 20, 3, 1), (500, 4)).astype(np.float32)
    boxes = [ImageBox(30 * i, 100, 30 * i + 90, 250) for i in range(37)]
    crops = crop_frusta(points, calibration, boxes)
    alone = [crop_frusta(points, calibration, [box])[0] for box in boxes]
    assert [crop.tobytes() for crop in crops] == [crop.tobytes() for crop in alone]
    assert {len(crop) > 0 for crop in crops} == {True, False}
