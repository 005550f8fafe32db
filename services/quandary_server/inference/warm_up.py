"""The first runs of a session are slow, and a broken model should break before it answers."""

import numpy as np

from quandary.errors import CorruptArtefact
from quandary.labels import CLASSES
from quandary.options import Estimator
from quandary_server.frustum.anchor import Anchors
from quandary_server.frustum.raster import CHANNELS, GEOMETRY, Rasters
from quandary_server.inference.generation import CROPS_PER_RUN, LoadedGeneration
from quandary_server.inference.scores import usable_objects

MC_SAMPLES = 20


def warm_up(generation: LoadedGeneration) -> None:
    """Draw once for a single and once for a full batch of blank crops.

    Raises CorruptArtefact where the model cannot run, answers in other shapes than its manifest says, or not finitely.
    """
    try:
        for crops in (2, CROPS_PER_RUN):
            draws = generation.draw(blank(crops, generation.manifest.net.side), Estimator.ENSEMBLE_MC_DROPOUT, MC_SAMPLES, 0)
    except Exception as error:
        # ONNX Runtime's exceptions share no base but Exception
        raise CorruptArtefact(f"{generation.id} does not run: {type(error).__name__}") from error
    classes = draws.samples.probs.shape[-1]
    if classes != len(generation.manifest.classes) or generation.manifest.classes != CLASSES:
        raise CorruptArtefact(f"{generation.id} answers with {classes} classes, known are {len(CLASSES)}")
    if not usable_objects(draws.samples).all():
        raise CorruptArtefact(f"{generation.id} answers blank crops with values that are not finite")


def blank(crops: int, side: int) -> Rasters:
    """Return rasters without a point."""
    return Rasters(
        np.zeros((crops, len(CHANNELS), side, side), np.float32),
        np.zeros((crops, len(GEOMETRY)), np.float32),
        Anchors(np.zeros((crops, 3)), np.zeros(crops)),
        np.zeros(crops, np.int64),
    )
