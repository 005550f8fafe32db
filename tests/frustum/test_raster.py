import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quandary.frustum import crop_frusta
from quandary.geometry import Calibration, ImageBox
from quandary_server.frustum.raster import (
    CHANNELS,
    DEPTH_SCALE_M,
    GEOMETRY,
    GEOMETRY_CENTRE,
    GEOMETRY_SCALE,
    SIDE,
    Rasters,
    rasterise,
)

DEPTH, INTENSITY, OCCUPANCY = range(3)


def crop(*rows: tuple[float, float, float, float]) -> np.ndarray:
    return np.array(rows, np.float32).reshape(-1, 4)


def middle(calibration: Calibration) -> ImageBox:
    """A box around what lies straight ahead of the camera."""
    u, v = calibration.project(np.array([[20.0, 0.0, 0.0]]))[0][0].tolist()
    return ImageBox(u - 30, v - 30, u + 30, v + 30)


def cloud(seed: int, count: int = 400) -> np.ndarray:
    rng = np.random.default_rng(seed)
    xyz = rng.uniform([5, -20, -2], [60, 20, 2], size=(count, 3))
    return np.column_stack([xyz, rng.random(count)]).astype(np.float32)


def test_the_nearest_point_wins_its_cell(calibration: Calibration) -> None:
    points = crop((26.0, 0.0, 0.0, 0.9), (24.0, 0.0, 0.0, 0.1), (25.0, 0.0, 0.0, 0.5), (25.0, 0.0, 0.0, 0.5))
    found = rasterise([points], calibration, [middle(calibration)])
    occupied = found.maps[0, OCCUPANCY] > 0
    assert found.maps[0, INTENSITY][occupied] == pytest.approx(np.float32(0.1))
    assert found.maps[0, DEPTH][occupied] == pytest.approx((24.0 - 25.0) / DEPTH_SCALE_M)
    assert found.anchors.centre[0, 0] == pytest.approx(25.0)


def test_left_of_the_image_is_left_in_the_map_and_up_is_up(calibration: Calibration) -> None:
    left_and_high = crop((20.0, 0.5, 0.5, 1.0))
    maps = rasterise([left_and_high], calibration, [middle(calibration)]).maps[0, OCCUPANCY]
    (row,), (column,) = np.nonzero(maps)
    assert row < SIDE / 2
    assert column < SIDE / 2


def test_an_empty_crop_has_blank_maps_and_a_guessed_depth(calibration: Calibration) -> None:
    found = rasterise([crop()], calibration, [middle(calibration)])
    assert not found.maps.any()
    assert found.points.tolist() == [0]
    # an object of 1.6 m that is 60 px high at 700 px focal length
    assert found.anchors.centre[0, 0] == pytest.approx(700 * 1.6 / 60, rel=1e-2)


def test_no_crops_give_empty_rasters(calibration: Calibration) -> None:
    found = rasterise([], calibration, [])
    assert found.maps.shape == (0, len(CHANNELS), SIDE, SIDE)
    assert found.geometry.shape == (0, len(GEOMETRY))
    assert len(Rasters.joined([found, found])) == 0


def test_geometry_says_how_large_the_box_is_in_metres(calibration: Calibration) -> None:
    found = rasterise([crop((20.0, 0.0, 0.0, 0.0))], calibration, [middle(calibration)])
    values = dict(zip(GEOMETRY, found.geometry[0] * GEOMETRY_SCALE + GEOMETRY_CENTRE, strict=True))
    assert np.exp(values["log_metric_width"]) == pytest.approx(60 / 700 * 20, rel=1e-3)
    assert np.exp(values["log_depth"]) == pytest.approx(20, rel=1e-3)
    assert values["log_points"] == pytest.approx(np.log(2), rel=1e-3)
    assert values["log_object_points"] == pytest.approx(np.log(2), rel=1e-3)
    assert values["bearing"] == pytest.approx(0.0, abs=1e-6)


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 1000), st.integers(1, 5))
def test_a_crop_does_not_depend_on_its_neighbours(calibration: Calibration, seed: int, count: int) -> None:
    rng, points = np.random.default_rng(seed), cloud(seed)
    corners = rng.uniform([0, 0], [1000, 250], size=(count, 2))
    boxes = [ImageBox(x, y, x + rng.uniform(5, 190), y + rng.uniform(5, 140)) for x, y in corners.tolist()]
    crops = crop_frusta(points, calibration, boxes)
    together = rasterise(crops, calibration, boxes)
    alone = Rasters.joined([rasterise([c], calibration, [b]) for c, b in zip(crops, boxes, strict=True)])
    assert alone.maps.tobytes() == together.maps.tobytes()
    assert alone.geometry.tobytes() == together.geometry.tobytes()
    assert alone.anchors.centre.tobytes() == together.anchors.centre.tobytes()


def test_every_point_of_a_frustum_falls_inside_its_map(calibration: Calibration) -> None:
    points, box = cloud(5, 4000), ImageBox(300.0, 100.0, 500.0, 300.0)
    (found,) = crop_frusta(points, calibration, [box])
    pixels, _ = calibration.project(found)
    grown = box.grown(1.1)
    assert (pixels >= [grown.left_px, grown.top_px]).all()
    assert (pixels < [grown.right_px, grown.bottom_px]).all()
    assert rasterise([found], calibration, [box]).maps[0, OCCUPANCY].sum() <= len(found)
