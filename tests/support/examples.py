"""Training examples of no meaning, and a net and a recipe that are small enough to fit in no time."""

import numpy as np

from quandary.labels import CLASSES
from quandary_server.detector.examples import Examples
from quandary_server.detector.settings import FitSettings, NetSettings
from quandary_server.frustum.anchor import REGRESSED
from quandary_server.frustum.raster import CHANNELS, GEOMETRY

SMALL_NET = NetSettings(side=16, channels=(4, 4, 8), image_embedding=12, geometry_embedding=4, hidden=16)
SMALL_FIT = FitSettings(steps=11, batch=8, report_every=2)


def random_examples(count: int) -> Examples:
    """Return as many random crops for SMALL_NET, the same ones every time."""
    rng = np.random.default_rng(count)
    maps = rng.normal(size=(count, len(CHANNELS), SMALL_NET.side, SMALL_NET.side)).astype(np.float32)
    geometry = rng.normal(size=(count, len(GEOMETRY))).astype(np.float32)
    boxes = rng.normal(size=(count, REGRESSED)).astype(np.float32)
    names, classes = np.array([f"f{i}" for i in range(count)]), rng.integers(0, len(CLASSES), count)
    return Examples(maps, geometry, classes, boxes, np.zeros((count, 3)), np.zeros(count), names, names)
