"""From crops to the detector's input: maps (D, 3, H, W) and geometry (D, G)."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from quandary.frustum import BOX_GROWTH
from quandary.geometry import Calibration, ImageBox
from quandary_server.frustum.anchor import Anchors, Axes, anchors_at, proposal_axes
from quandary_server.frustum.depth import object_depth
from quandary_server.frustum.jitter import jittered_crops
from quandary_server.frustum.views import Views, proposal_views

SIDE = 24
"""Rows and columns of a map."""

CHANNELS = ("relative_depth", "intensity", "occupancy")

GEOMETRY = (
    "bearing",
    "elevation",
    "log_angular_width",
    "log_angular_height",
    "log_depth",
    "log_metric_width",
    "log_metric_height",
    "log_points",
    "log_object_points",
)
"""The geometry vector's entries, before centring and scaling to about one; object points are those at the anchor's depth."""

DEPTH_SCALE_M = 4.0
DEPTH_CLIP = 2.0
UNSEEN_HEIGHT_M = 1.6
"""Height assumed of an object without a point, to have some depth for its anchor."""

GEOMETRY_CENTRE = np.array([0.0, 0.0, -2.5, -2.5, 3.0, 0.5, 0.5, 4.0, 3.0])
GEOMETRY_SCALE = np.array([0.5, 0.1, 1.0, 1.0, 1.0, 1.0, 1.0, 2.0, 2.0])


@dataclass(frozen=True)
class Rasters:
    """The detector's view of D crops: maps (D, 3, H, W), geometry (D, G), their anchors and point counts (D,).

    views: how the camera sees them, where that is known; jittered: the rasters (D x J) of J jittered proposals each, crop by
    crop, where they are asked for. All parts that are joined have them, or none.
    """

    maps: NDArray[np.float32]
    geometry: NDArray[np.float32]
    anchors: Anchors
    points: NDArray[np.int64]
    views: Views | None = None
    jittered: "Rasters | None" = None

    def __len__(self) -> int:
        return len(self.points)

    @property
    def jitters(self) -> int:
        """J."""
        return len(self.jittered) // len(self) if self.jittered is not None else 0

    def take(self, which: NDArray[np.intp]) -> "Rasters":
        """Return the rasters at indices, with their jittered ones."""
        own = (which[:, None] * self.jitters + np.arange(self.jitters)).ravel()
        return Rasters(
            self.maps[which],
            self.geometry[which],
            self.anchors.take(which),
            self.points[which],
            self.views and self.views.take(which),
            self.jittered and self.jittered.take(own),
        )

    @staticmethod
    def joined(parts: Sequence["Rasters"]) -> "Rasters":
        """Return the rasters of several frames (at least one), one after the other."""
        if len(parts) == 1:
            return parts[0]
        views = [p.views for p in parts if p.views is not None]
        jittered = [p.jittered for p in parts if p.jittered is not None]
        return Rasters(
            np.concatenate([p.maps for p in parts]),
            np.concatenate([p.geometry for p in parts]),
            Anchors.joined([p.anchors for p in parts]),
            np.concatenate([p.points for p in parts]),
            Views.joined(views) if views else None,
            Rasters.joined(jittered) if jittered else None,
        )


def rasterise(
    crops: Sequence[NDArray[np.float32]],
    calibration: Calibration,
    boxes: Sequence[ImageBox],
    side: int = SIDE,
    *,
    per_proposal: int = 1,
) -> Rasters:
    """Rasterise the crops of one frame, one per image box, each in its box grown by BOX_GROWTH; the nearest point wins.

    crops: float32 (n_i, 4), x, y, z in metres and intensity. per_proposal: how many boxes in a row are of one proposal, for
    errors to name it. Elementwise arithmetic and one sort: a crop's raster does not depend on its neighbours, to the bit.
    """
    counts = np.array([len(crop) for crop in crops], dtype=np.int64)
    points = np.concatenate([np.empty((0, 4), np.float32), *crops])
    which = np.repeat(np.arange(len(crops)), counts)
    axes = proposal_axes(calibration, boxes, per_proposal)

    # near points last, so that they overwrite the far ones
    along = axes.along(points[:, :3].astype(np.float64), which)
    order = _by_crop_and_falling(along, which, len(crops))
    points, along = points.take(order, axis=0), along[order]
    pixels, _ = calibration.project(points)
    heights_m = np.array([box.height_px for box in boxes]) / calibration.focal_px[1]
    place = _places(pixels, which, boxes)
    depth, at_depth = object_depth(along, place, which, heights_m, _unseen_depth(axes, calibration, boxes))

    rows, columns = _cells(pixels, which, boxes, side)
    maps = np.zeros((len(crops), len(CHANNELS), side, side), np.float32)
    relative = np.clip((along - depth[which]) / DEPTH_SCALE_M, -DEPTH_CLIP, DEPTH_CLIP)
    # the place in the map of the first channel: one index in place of four
    flat, cells = maps.reshape(-1), side * side
    cell = which * (len(CHANNELS) * cells) + rows * side + columns
    flat[cell], flat[cell + cells], flat[cell + 2 * cells] = relative, points[:, 3], 1.0
    geometry = _geometry(axes, calibration, boxes, depth, counts, at_depth)
    return Rasters(maps, geometry, anchors_at(axes, depth), counts, proposal_views(calibration, boxes))


def with_jitter(
    rasters: Rasters,
    crops: Sequence[NDArray[np.float32]],
    calibration: Calibration,
    boxes: Sequence[ImageBox],
    count: int,
    seed: int,
) -> Rasters:
    """Return the rasters of one frame with those of `count` >= 1 jittered proposals for each crop; the rest as `rasterise`."""
    cut, drawn = jittered_crops(crops, calibration, boxes, count, seed)
    jittered = rasterise(cut, calibration, drawn, rasters.maps.shape[-1], per_proposal=count)
    return replace(rasters, jittered=jittered)


def _by_crop_and_falling(along: NDArray[np.float64], which: NDArray[np.intp], crops: int) -> NDArray[np.intp]:
    """Return the order of points by their crop, then from far to near, then as they came."""
    order = np.argsort(-along, kind="stable")
    # small integers are sorted by their digits: with them this takes a third of what np.lexsort does
    return order[np.argsort(which.astype(np.min_scalar_type(crops))[order], kind="stable")]


def _cells(
    pixels: NDArray[np.float64], which: NDArray[np.intp], boxes: Sequence[ImageBox], side: int
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    cells = (_places(pixels, which, [box.grown(BOX_GROWTH) for box in boxes]) * side).astype(np.intp)
    cells = np.clip(cells, 0, side - 1)
    return cells[:, 1], cells[:, 0]


def _places(pixels: NDArray[np.float64], which: NDArray[np.intp], boxes: Sequence[ImageBox]) -> NDArray[np.float64]:
    """Return where pixels (N, 2) lie in their boxes, (N, 2): 0 to 1 across and down."""
    corner = np.array([(box.left_px, box.top_px) for box in boxes]).reshape(-1, 2)
    extent = np.array([(box.width_px, box.height_px) for box in boxes]).reshape(-1, 2)
    return np.asarray((pixels - corner.take(which, axis=0)) / extent.take(which, axis=0))


def _unseen_depth(axes: Axes, calibration: Calibration, boxes: Sequence[ImageBox]) -> NDArray[np.float64]:
    focal_px = calibration.focal_px[1]
    heights = np.array([box.height_px for box in boxes])
    level = np.hypot(axes.direction[:, 0], axes.direction[:, 1])
    return np.asarray(np.clip(focal_px * UNSEEN_HEIGHT_M / heights, 1.0, 100.0) * level)


def _geometry(
    axes: Axes,
    calibration: Calibration,
    boxes: Sequence[ImageBox],
    depth: NDArray[np.float64],
    counts: NDArray[np.int64],
    at_depth: NDArray[np.int64],
) -> NDArray[np.float32]:
    focal_x, focal_y = calibration.focal_px
    level = np.hypot(axes.direction[:, 0], axes.direction[:, 1])
    width = np.array([box.width_px for box in boxes]) / focal_x
    height = np.array([box.height_px for box in boxes]) / focal_y
    distance = np.maximum(depth, 0.5)
    columns = [
        axes.bearing,
        np.arctan2(axes.direction[:, 2], level),
        np.log(width),
        np.log(height),
        np.log(distance),
        np.log(width * distance),
        np.log(height * distance),
        np.log1p(counts),
        np.log1p(at_depth),
    ]
    values: NDArray[np.float64] = (np.column_stack(columns) - GEOMETRY_CENTRE) / GEOMETRY_SCALE
    return values.astype(np.float32)
