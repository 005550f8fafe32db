"""Small pools and experiments."""

from typing import Any

import numpy as np
import pytest

from quandary.labels import CLASSES
from quandary_server.detector.examples import Examples
from quandary_server.detector.settings import FitSettings, NetSettings
from quandary_server.experiment.pools.crops import Crops, Pool
from quandary_server.experiment.settings import ExperimentSettings
from quandary_server.frustum.anchor import REGRESSED
from quandary_server.frustum.raster import CHANNELS, GEOMETRY

SIDE = 8
SMALL = NetSettings(side=SIDE, channels=(4, 4, 8), image_embedding=8, geometry_embedding=4, hidden=16, dropout=0.5)
CROPS_PER_FRAME = 3


def toy_crops(count: int, seed: int, drive: str) -> Crops:
    """Cars, pedestrians and background that an eye can tell apart, three to a frame, a frame a second."""
    rng = np.random.default_rng(seed)
    names = ("Car", "Pedestrian", "Background")
    classes = np.array([CLASSES.index(names[i % 3]) for i in range(count)])
    maps = rng.normal(0, 0.1, (count, len(CHANNELS), SIDE, SIDE)).astype(np.float32)
    maps[classes == CLASSES.index("Car"), 2, :, : SIDE // 2] += 1
    maps[classes == CLASSES.index("Pedestrian"), 2, :, SIDE // 2 :] += 1
    boxes = np.zeros((count, REGRESSED), np.float32)
    objects = classes != CLASSES.index("Background")
    boxes[objects, :3] = rng.normal(0, 0.3, (int(objects.sum()), 3))
    boxes[objects, 3:6] = np.log([4.0, 1.7, 1.5])
    boxes[objects, 6:] = [0.0, 1.0, 0.0, 1.0]
    frames = np.arange(count) // CROPS_PER_FRAME
    examples = Examples(
        maps,
        rng.normal(size=(count, len(GEOMETRY))).astype(np.float32),
        classes,
        boxes,
        np.tile([20.0, 0.0, -1.0], (count, 1)),
        np.zeros(count),
        np.full(count, drive),
        np.array([f"{drive}{frame:04d}" for frame in frames]),
    )
    return Crops(examples, frames.astype(np.float64))


@pytest.fixture(scope="session")
def toy_pool() -> Pool:
    """60 crops of the pool, 60 of a control drive, 240 of an evaluation drive."""
    return Pool(toy_crops(60, 0, "p"), toy_crops(60, 1, "c"), toy_crops(240, 2, "e"))


def toy_settings(**replay: Any) -> ExperimentSettings:
    """Return an experiment with one replay, `main`, of two members that are hardly trained."""
    source = {"kind": "fleet", "fleet": {"pool_drives": 1, "control_drives": 1, "evaluation_drives": 1, "frames_per_drive": 2}}
    main = {
        "title": "toy",
        "pool": {"source": source},
        "budgets": (6, 12, 24),
        "stop_at": 24,
        "methods": {"random": 2, "mi_box": 2},
        **replay,
    }
    return ExperimentSettings.model_validate(
        {
            "title": "toy",
            "members": 2,
            "mc_samples": 3,
            "net": SMALL.model_dump(),
            "fit": FitSettings(batch=8).model_dump(),
            "steps": {"at_1000": 10, "least": 10, "most": 10},
            "replays": {"main": main},
        }
    )
