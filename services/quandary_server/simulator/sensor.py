"""A 64-beam LiDAR after the Velodyne HDL-64E: where its rays go and what comes back."""

import numpy as np
from numpy.typing import NDArray

from quandary.geometry import Calibration
from quandary_server.simulator.materials import RETURN_SHARE, ROUGHNESS_M
from quandary_server.simulator.solids import Hits

UPPER_BEAMS_DEG = np.linspace(2.5, -7.83, 32)
LOWER_BEAMS_DEG = np.linspace(-8.33, -24.4, 32)
"""The two blocks of the HDL-64E, a third and half a degree apart; half a degree higher than in the data sheet, as in KITTI."""

AZIMUTH_STEP_DEG = 0.1728
BEAM_TOLERANCE_DEG = 0.04

MAX_RANGE_M = 120.0
MIN_RANGE_M = 1.5
RANGE_NOISE_M = 0.018
DROPOUT = 0.004
FAINT_RANGE_M = 165.0
"""A white surface met head-on returns half of its pulses from here; a dark or slanted one from nearer."""

SLANT_EXPONENT = 0.15
"""How the echo falls with the cosine of incidence: by little, since rough surfaces send much straight back."""

VIEW_MARGIN_PX = 90.0


def beam_directions(calibration: Calibration) -> NDArray[np.float64]:
    """Return unit vectors (n, 3) in the LiDAR frame, beam by beam from the top, of the rays that the camera may see."""
    beams = np.concatenate([UPPER_BEAMS_DEG, LOWER_BEAMS_DEG])
    # Each laser is a little off, and fires at its own moment: neighbouring beams do not line up.
    phase = (np.arange(len(beams)) * 0.618034) % 1.0
    elevation = np.radians(beams + BEAM_TOLERANCE_DEG * np.sin(7.0 * np.arange(len(beams))))[:, None]
    azimuth = np.radians(np.arange(60.0, -60.0, -AZIMUTH_STEP_DEG)[None, :] - AZIMUTH_STEP_DEG * phase[:, None])
    level, rise = np.cos(elevation), np.broadcast_to(np.sin(elevation), azimuth.shape)
    directions = np.stack([level * np.cos(azimuth), level * np.sin(azimuth), rise], axis=-1).reshape(-1, 3)
    pixels, depth = calibration.project(directions * 1000.0)
    return directions[(depth > 0) & _inside(pixels, calibration, VIEW_MARGIN_PX)]


def sweep(
    hits: Hits, directions: NDArray[np.float64], calibration: Calibration, rng: np.random.Generator
) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    """Return the points (m, 4) that come back inside the image, in the LiDAR frame, and their owners (m,).

    directions: unit vectors (n, 3) in the LiDAR frame, as from `beam_directions`. Points are rounded to millimetres and to
    hundredths of intensity, as KITTI's are.
    """
    # One draw of each kind per ray, whatever it meets, so that no ray's luck depends on another's.
    luck, noise, gain = rng.random(len(directions)), rng.normal(size=len(directions)), rng.normal(size=len(directions))
    distance = hits.distance_m
    material = hits.material

    echo = hits.reflectivity * np.maximum(hits.cos_incidence, 1e-3) ** SLANT_EXPONENT
    with np.errstate(divide="ignore"):
        strength = (0.03 + echo) * (FAINT_RANGE_M / distance) ** 2
    returned = luck < RETURN_SHARE[material] * (1 - DROPOUT) * (1 - np.exp2(-strength))
    returned &= (distance > MIN_RANGE_M) & (distance < MAX_RANGE_M)

    noisy = distance + noise * np.hypot(RANGE_NOISE_M, ROUGHNESS_M[material])
    points = directions * np.where(returned, noisy, 0.0)[:, None]
    intensity = np.clip(echo * 1.15 + gain * (0.03 + 0.08 * echo), 0.0, 0.99)
    intensity = np.where(intensity < 0.045, 0.0, intensity)

    pixels, depth = calibration.project(points)
    kept = returned & (depth > 0) & _inside(pixels, calibration, 0.0)
    cloud = np.concatenate([np.round(points[kept], 3), np.round(intensity[kept], 2)[:, None]], axis=1)
    return cloud.astype(np.float32), hits.owner[kept]


def _inside(pixels: NDArray[np.float64], calibration: Calibration, margin_px: float) -> NDArray[np.bool_]:
    u, v = pixels[:, 0], pixels[:, 1]
    within_width = (u >= -margin_px) & (u < calibration.image_width_px + margin_px)
    return np.asarray(within_width & (v >= -margin_px) & (v < calibration.image_height_px + margin_px))
