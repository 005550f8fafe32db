"""Errors of the predicted box."""

from collections.abc import Sequence

import numpy as np
import shapely
from numpy.typing import NDArray

from quandary.geometry import Box3D

Array = NDArray[np.float64]


def centre_errors(truth: Sequence[Box3D], predicted: Sequence[Box3D]) -> Array:
    """Return the distances (N,) of the centres in metres."""
    return np.array([np.linalg.norm(t.centre - p.centre) for t, p in zip(truth, predicted, strict=True)])


def size_errors(truth: Sequence[Box3D], predicted: Sequence[Box3D]) -> Array:
    """Return the mean absolute difference (N,) of length, width and height in metres."""
    return np.array([np.abs(t.extents - p.extents).mean() for t, p in zip(truth, predicted, strict=True)])


def depth_errors(truth: Sequence[Box3D], predicted: Sequence[Box3D], bearings_rad: Array) -> Array:
    """Return the distances (N,) in metres of the centres along the horizontal axes at these bearings (N,)."""
    offset = np.array([p.centre[:2] - t.centre[:2] for t, p in zip(truth, predicted, strict=True)]).reshape(-1, 2)
    return np.asarray(np.abs(offset[:, 0] * np.cos(bearings_rad) + offset[:, 1] * np.sin(bearings_rad)))


def ious(truth: Sequence[Box3D], predicted: Sequence[Box3D]) -> Array:
    """Return the volumetric intersection over union (N,) of upright boxes, in [0, 1]."""
    if not truth:
        return np.empty(0)
    ground = shapely.area(shapely.intersection(_footprints(truth), _footprints(predicted)))
    top = np.minimum(_column(truth, +1), _column(predicted, +1))
    bottom = np.maximum(_column(truth, -1), _column(predicted, -1))
    shared = ground * np.maximum(top - bottom, 0.0)
    both = _volumes(truth) + _volumes(predicted) - shared
    return np.asarray(np.clip(shared / both, 0.0, 1.0))


def _footprints(boxes: Sequence[Box3D]) -> NDArray[np.object_]:
    return np.asarray(shapely.polygons(np.stack([box.corners()[:4, :2] for box in boxes])))


def _column(boxes: Sequence[Box3D], side: int) -> Array:
    return np.array([box.z_m + side * box.height_m / 2 for box in boxes])


def _volumes(boxes: Sequence[Box3D]) -> Array:
    return np.array([box.extents.prod() for box in boxes])
