"""Tightness and stability of drawn objects, and what they are without each draw."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from quandary.options import Acquisition
from quandary_server.evaluation.boxes import volume_overlaps
from quandary_server.frustum.anchor import decoded
from quandary_server.frustum.raster import Rasters
from quandary_server.frustum.views import image_boxes, image_overlaps
from quandary_server.uncertainty.acquisition import acquire, scores_without
from quandary_server.uncertainty.localisation import Localisation, stability, stability_without, tightness
from quandary_server.uncertainty.summary import LeaveOneOut, Statistics, Summary

Array = NDArray[np.float64]

FARTHEST_M = 1e4
"""Well beyond what a usable box reaches."""


@dataclass(frozen=True, eq=False)
class Localised:
    """The draws for D crops beside those for their jittered proposals, each part computed when it is first asked for.

    jittered: the draws for D x J crops, None where there is no jitter.
    """

    rasters: Rasters
    summary: Summary
    jittered: Summary | None

    @cached_property
    def tightness(self) -> Array | None:
        """Tightness (D,); None where the views are not known."""
        return self._tightness(self.summary, self.summary.box)

    @cached_property
    def stability(self) -> Array | None:
        """Stability (D,); None without jitter."""
        return None if self.overlaps is None else stability(self.overlaps)

    @cached_property
    def overlaps(self) -> Array | None:
        """IoUs (J, D) of the mean boxes with those of the jittered proposals."""
        if self.jittered is None or self.rasters.jittered is None:
            return None
        boxes = _drawable(decoded(self.summary.box, self.rasters.anchors))
        disturbed = _drawable(decoded(self.jittered.box, self.rasters.jittered.anchors))
        found = volume_overlaps(np.repeat(boxes, self.rasters.jitters, axis=0), disturbed)
        return np.ascontiguousarray(found.reshape(len(boxes), -1).T)

    def scores(self, acquisition: Acquisition, box_scales: Array) -> Array:
        """Return the scores (D,); raises ValueError as `acquire` does."""
        tight = self.tightness if acquisition is Acquisition.TIGHTNESS else None
        stable = self.stability if acquisition is Acquisition.STABILITY else None
        return acquire(acquisition, self.summary, box_scales, Localisation(tight, stable))

    def scores_without(self, acquisition: Acquisition, box_scales: Array) -> Array | None:
        """Return the scores without each draw (N, D), None for fewer than 3: of the jitter for STABILITY, else of T samples."""
        if acquisition is Acquisition.STABILITY:
            left = None if self.overlaps is None else stability_without(self.overlaps)
            return None if left is None else acquire(acquisition, self.summary, box_scales, Localisation(stability=left))
        if acquisition is Acquisition.TIGHTNESS and self.summary.samples >= 3:
            without = LeaveOneOut(self.summary)
            tight = self._tightness(without, without.box)
            return acquire(acquisition, without, box_scales, Localisation(tightness=tight))
        return scores_without(acquisition, self.summary, box_scales)

    def _tightness(self, statistics: Statistics, box: Array) -> Array | None:
        views = self.rasters.views
        if views is None:
            return None
        seen = image_boxes(decoded(box, self.rasters.anchors), views)
        return tightness(image_overlaps(views.proposals, seen), statistics.mean_probs)


def _drawable(boxes: Array) -> Array:
    """Return boxes (N, 7), those that are not finite or absurd replaced: they are of objects that get no answer."""
    sound = (np.abs(boxes) < FARTHEST_M).all(axis=1, keepdims=True)
    return np.where(sound, boxes, np.array([0.0, 0.0, 0.0, 1.0, 1.0, 1.0, 0.0]))
