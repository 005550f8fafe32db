"""The first runs of a session are slow, and a broken model should break before it answers."""

from collections.abc import Callable

import numpy as np

from quandary.errors import CorruptArtefact
from quandary.labels import CLASSES
from quandary_server.frustum.anchor import Anchors
from quandary_server.frustum.raster import CHANNELS, GEOMETRY, Rasters
from quandary_server.inference.device import CROPS_PER_RUN
from quandary_server.inference.estimate import usable_objects
from quandary_server.inference.generation import LoadedGeneration, joined
from quandary_server.inference.member import LoadedMember
from quandary_server.registry.manifest import Manifest
from quandary_server.uncertainty.summary import summarise

MC_SAMPLES = 20


def warm_up(generation: LoadedGeneration, between: Callable[[], None] = lambda: None) -> None:
    """Have every member draw, as `warm_up_member` does."""
    for member in generation.loaded:
        warm_up_member(member, generation.manifest, between)


def warm_up_member(member: LoadedMember, manifest: Manifest, between: Callable[[], None] = lambda: None) -> None:
    """Draw once for two and once for a full batch of blank crops; between: called after each.

    Raises CorruptArtefact where the model cannot run, answers in other shapes than its manifest says, or not finitely.
    """
    try:
        for crops in (2, CROPS_PER_RUN):
            rasters = blank(crops, manifest.net.side)
            drawn = member.draw(rasters.maps, rasters.geometry, MC_SAMPLES, 0)
            between()
    except Exception as error:
        # ONNX Runtime's exceptions share no base but Exception
        raise CorruptArtefact(f"{manifest.generation} does not run: {type(error).__name__}") from error
    classes = drawn.logits.shape[-1]
    if classes != len(manifest.classes) or manifest.classes != CLASSES:
        raise CorruptArtefact(f"{manifest.generation} answers with {classes} classes, known are {len(CLASSES)}")
    if not usable_objects(summarise(joined([drawn], manifest.temperature).samples)).all():
        raise CorruptArtefact(f"{manifest.generation} answers blank crops with values that are not finite")


def blank(crops: int, side: int) -> Rasters:
    """Return rasters without a point."""
    return Rasters(
        np.zeros((crops, len(CHANNELS), side, side), np.float32),
        np.zeros((crops, len(GEOMETRY)), np.float32),
        Anchors(np.zeros((crops, 3)), np.zeros(crops)),
        np.zeros(crops, np.int64),
    )
