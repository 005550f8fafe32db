"""Errors of the predicted box."""

from collections.abc import Sequence
from dataclasses import astuple

import numpy as np
import shapely
from numpy.typing import NDArray

from quandary.geometry import Box3D
from quandary_server.frustum.anchor import yaws

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
    return volume_overlaps(_rows(truth), _rows(predicted))


def parameter_errors(truth: Array, predicted: Array) -> Array:
    """Return the errors (O, 7) of box parameters from regressed values (O, 10); of yaw, modulo half a turn.

    A box and its reverse are the same to the LiDAR.
    """
    yaw = (yaws(predicted) - yaws(truth) + np.pi / 2) % np.pi - np.pi / 2
    return np.column_stack([predicted[:, :6] - truth[:, :6], yaw])


def volume_overlaps(first: Array, second: Array) -> Array:
    """Return the volumetric intersection over union (N,) of upright boxes (N, 7), as Box3D has its fields; in [0, 1]."""
    ground = shapely.area(shapely.intersection(_footprints(first), _footprints(second)))
    top = np.minimum(first[:, 2] + first[:, 5] / 2, second[:, 2] + second[:, 5] / 2)
    bottom = np.maximum(first[:, 2] - first[:, 5] / 2, second[:, 2] - second[:, 5] / 2)
    shared = ground * np.maximum(top - bottom, 0.0)
    both = first[:, 3:6].prod(axis=1) + second[:, 3:6].prod(axis=1) - shared
    return np.asarray(np.clip(shared / both, 0.0, 1.0))


def _rows(boxes: Sequence[Box3D]) -> Array:
    return np.array([astuple(box) for box in boxes]).reshape(-1, 7)


def _footprints(boxes: Array) -> NDArray[np.object_]:
    x, y, _, length, width, _, yaw = (column[:, None] for column in boxes.T)
    along, across = length * np.array([1, -1, -1, 1]) / 2, width * np.array([1, 1, -1, -1]) / 2
    cos, sin = np.cos(yaw), np.sin(yaw)
    corners = np.stack([x + cos * along - sin * across, y + sin * along + cos * across], axis=-1)
    return np.asarray(shapely.polygons(corners))
