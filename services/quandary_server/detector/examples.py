"""Training examples: rasters of labelled crops with their targets."""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from quandary.geometry import Box3D
from quandary.labels import BACKGROUND, CLASSES, Label
from quandary_server.frustum.anchor import REGRESSED, Anchors, decode_boxes, encode_box
from quandary_server.frustum.raster import CHANNELS, GEOMETRY, SIDE, Rasters


@dataclass(frozen=True)
class Examples:
    """N labelled crops.

    maps (N, 3, H, W); geometry (N, G); classes (N,) indices into CLASSES; boxes (N, 10) regressed values, zero for Background;
    centre (N, 3) and bearing (N,) of the anchors; drives and frames (N,) ids.
    """

    maps: NDArray[np.float32]
    geometry: NDArray[np.float32]
    classes: NDArray[np.int64]
    boxes: NDArray[np.float32]
    centre: NDArray[np.float64]
    bearing: NDArray[np.float64]
    drives: NDArray[np.str_]
    frames: NDArray[np.str_]

    def __len__(self) -> int:
        return len(self.classes)

    @property
    def anchors(self) -> Anchors:
        """Anchors of the crops."""
        return Anchors(self.centre, self.bearing)

    @property
    def rasters(self) -> Rasters:
        """The detector's view of the crops; how many points they held is not kept."""
        return Rasters(self.maps, self.geometry, self.anchors, np.zeros(len(self), np.int64))

    def take(self, which: NDArray[np.intp] | NDArray[np.bool_]) -> "Examples":
        """Return the examples at indices or a mask."""
        return Examples(*(getattr(self, field.name)[which] for field in fields(self)))

    @staticmethod
    def joined(parts: Sequence["Examples"]) -> "Examples":
        """Return the examples of several parts, one after the other; of none that hold any, the empty examples."""
        # empty examples have maps of the default side, whatever that of the others is
        filled = [part for part in parts if len(part)]
        if not filled:
            return _EMPTY
        return Examples(*(np.concatenate([getattr(part, field.name) for part in filled]) for field in fields(Examples)))


_EMPTY = Examples(
    np.empty((0, len(CHANNELS), SIDE, SIDE), np.float32),
    np.empty((0, len(GEOMETRY)), np.float32),
    np.empty(0, np.int64),
    np.empty((0, REGRESSED), np.float32),
    np.empty((0, 3)),
    np.empty(0),
    np.empty(0, np.str_),
    np.empty(0, np.str_),
)


def make_examples(rasters: Rasters, truths: Sequence[Label | None], drive_id: str, frame_id: str) -> Examples:
    """Return the examples of one frame: one truth per raster, None for Background."""
    boxes = np.zeros((len(rasters), REGRESSED), np.float32)
    for i, truth in enumerate(truths):
        if truth is not None:
            boxes[i] = encode_box(truth.box, rasters.anchors.centre[i], rasters.anchors.bearing[i])
    return Examples(
        rasters.maps,
        rasters.geometry,
        np.array([CLASSES.index(t.class_name if t else BACKGROUND) for t in truths], np.int64),
        boxes,
        rasters.anchors.centre,
        rasters.anchors.bearing,
        np.full(len(rasters), drive_id),
        np.full(len(rasters), frame_id),
    )


def true_boxes(examples: Examples) -> list[Box3D]:
    """Return the labelled boxes (N,) of examples, from their regressed values; meaningless for Background."""
    return decode_boxes(examples.boxes.astype(np.float64), examples.anchors)


def mirrored(
    maps: NDArray[np.float32], geometry: NDArray[np.float32], boxes: NDArray[np.float32], flip: NDArray[np.bool_]
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """Return the batch with the crops at `flip` (N,) mirrored left to right: maps turn, bearing, across and yaw change sign."""
    maps, geometry, boxes = maps.copy(), geometry.copy(), boxes.copy()
    maps[flip] = maps[flip][..., ::-1]
    geometry[flip, GEOMETRY.index("bearing")] *= -1
    for across_or_sine in (1, 6, 8):
        boxes[flip, across_or_sine] *= -1
    return maps, geometry, boxes
