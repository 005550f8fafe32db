import numpy as np
import pytest

from quandary_server.simulator.camera import camera_calibration
from quandary_server.simulator.materials import Material
from quandary_server.simulator.sensor import AZIMUTH_STEP_DEG, beam_directions, sweep
from quandary_server.simulator.solids import Hits

CALIBRATION = camera_calibration()
DIRECTIONS = beam_directions(CALIBRATION)


def hits_at(distance_m: float, material: Material = Material.PLASTER, reflectivity: float = 0.5) -> Hits:
    n = len(DIRECTIONS)
    return Hits(
        np.full(n, distance_m),
        np.arange(n, dtype=np.int32),
        np.full(n, material, np.uint8),
        np.full(n, reflectivity, np.float32),
        np.ones(n, np.float32),
    )


def swept(hits: Hits, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    return sweep(hits, DIRECTIONS, CALIBRATION, np.random.default_rng(seed))


def test_rays_are_those_of_sixty_four_beams_that_the_camera_may_see() -> None:
    np.testing.assert_allclose(np.linalg.norm(DIRECTIONS, axis=1), 1.0)
    elevation = np.degrees(np.arcsin(DIRECTIONS[:, 2]))
    azimuth = np.degrees(np.arctan2(DIRECTIONS[:, 1], DIRECTIONS[:, 0]))
    assert 2.4 < elevation.max() < 2.6
    assert np.abs(azimuth).max() < 46
    # Some 81 degrees of the camera's view in steps of 0.17, for the beams that are not below the image.
    first_beam = np.isclose(elevation, elevation[0])
    assert np.diff(azimuth[first_beam]) == pytest.approx(-AZIMUTH_STEP_DEG)
    assert 18_000 < len(swept(hits_at(15.0))[0]) < 22_000


def test_a_sphere_of_plaster_comes_back_at_its_distance_with_noise_of_centimetres() -> None:
    points, _ = swept(hits_at(10.0))
    ranges = np.linalg.norm(points[:, :3], axis=1)
    assert ranges.mean() == pytest.approx(10.0, abs=0.002)
    assert 0.01 < ranges.std() < 0.03


def test_points_lie_along_their_rays_and_keep_their_owner() -> None:
    points, owners = swept(hits_at(10.0))
    cosines = np.einsum("ij,ij->i", points[:, :3], DIRECTIONS[owners]) / np.linalg.norm(points[:, :3], axis=1)
    assert cosines.min() > 1 - 1e-6


def test_points_lie_in_the_image_and_are_rounded_as_kittis() -> None:
    points, _ = swept(hits_at(30.0))
    pixels, depth = CALIBRATION.project(points)
    assert depth.min() > 0
    assert pixels.min() >= -0.1  # of the rounding
    assert pixels[:, 0].max() <= CALIBRATION.image_width_px + 0.1
    assert pixels[:, 1].max() <= CALIBRATION.image_height_px + 0.1
    np.testing.assert_allclose(points[:, :3] * 1000, np.round(points[:, :3] * 1000), atol=5e-3)
    assert points.dtype == np.float32


@pytest.mark.parametrize("distance_m", [0.5, 121.0, np.inf])
def test_nothing_comes_back_from_too_near_or_too_far(distance_m: float) -> None:
    assert len(swept(hits_at(distance_m))[0]) == 0


def test_glass_mostly_swallows_and_far_dark_things_fade() -> None:
    everything = len(swept(hits_at(10.0))[0])
    assert len(swept(hits_at(10.0, Material.GLASS))[0]) < 0.3 * everything
    near, far = (len(swept(hits_at(distance, Material.RUBBER, 0.05))[0]) for distance in (10.0, 90.0))
    assert near > 0.85 * everything
    assert far < 0.5 * everything
    assert len(swept(hits_at(90.0, reflectivity=0.9))[0]) > 0.75 * everything


def test_intensity_goes_with_reflectivity_and_stays_below_one() -> None:
    dark, grey, bright = (swept(hits_at(10.0, reflectivity=share))[0][:, 3] for share in (0.01, 0.3, 1.0))
    assert np.mean(dark == 0) > 0.5
    assert grey.mean() == pytest.approx(0.345, abs=0.02)
    assert bright.max() == pytest.approx(0.99)
    assert dark.min() >= 0


def test_the_luck_of_a_ray_does_not_depend_on_its_neighbours() -> None:
    whole = hits_at(10.0)
    halved = hits_at(10.0)
    halved.distance_m[::2] = np.inf
    points, owners = swept(whole)
    fewer, fewer_owners = swept(halved)
    np.testing.assert_array_equal(points[owners % 2 == 1], fewer)
    assert (fewer_owners % 2 == 1).all()
