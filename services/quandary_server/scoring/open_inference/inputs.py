"""What the models take: rasterised crops, one per row, as `frustum.raster` makes them."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quandary.errors import InvalidArgument
from quandary_server.frustum.anchor import Anchors
from quandary_server.frustum.raster import CHANNELS, DEPTH_CLIP, GEOMETRY, Rasters
from quandary_server.wire.frames import Limits, check_limit
from quandary_server.wire.inference_tensors import VARIES, InputTensor, TensorSpec, read_inputs
from quandary_server.wire.inference_v2 import open_inference_pb2 as protocol

MAPS, GEOMETRY_INPUT, ANCHORS = "maps", "geometry", "anchors"

LOWEST_MAP = np.array([-DEPTH_CLIP, 0.0, 0.0], np.float32)[:, None, None]
HIGHEST_MAP = np.array([DEPTH_CLIP, 1.0, 1.0], np.float32)[:, None, None]
MAX_GEOMETRY = 100.0
"""Far above what any frustum has."""

MAX_ANCHOR_M = 900.0
"""A box may be 1000 m away, and is near its anchor."""

MAX_ANCHOR = np.array([MAX_ANCHOR_M, MAX_ANCHOR_M, MAX_ANCHOR_M, 2 * np.pi])
"""x, y, z in metres, bearing in radians."""


def input_specs(side: int) -> tuple[TensorSpec, ...]:
    """Return what the inputs are for maps of so many rows and columns; `anchors` may be left out."""
    return (
        TensorSpec(MAPS, "FP32", (VARIES, len(CHANNELS), side, side)),
        TensorSpec(GEOMETRY_INPUT, "FP32", (VARIES, len(GEOMETRY))),
        TensorSpec(ANCHORS, "FP64", (VARIES, len(MAX_ANCHOR))),
    )


@dataclass(frozen=True)
class CropTensors:
    """The inputs of D crops, right in form; their values are not read yet."""

    maps: InputTensor
    geometry: InputTensor
    anchors: InputTensor | None

    def __len__(self) -> int:
        return self.maps.shape[0]

    def rasters(self) -> Rasters:
        """Return the values; raises InvalidArgument for one that is not finite or beyond what a raster may hold.

        Without anchors boxes are relative to the crop's own: along the frustum, across, up.
        """
        maps = _within(self.maps, LOWEST_MAP, HIGHEST_MAP, f"depth within +-{DEPTH_CLIP:g}, the others in [0, 1]")
        geometry = _within(self.geometry, -MAX_GEOMETRY, MAX_GEOMETRY, f"finite, within +-{MAX_GEOMETRY:g}")
        anchors = np.zeros((len(self), len(MAX_ANCHOR)))
        if self.anchors is not None:
            bound = f"x, y, z within +-{MAX_ANCHOR_M:g} m, bearing within +-2 pi"
            anchors = _within(self.anchors, -MAX_ANCHOR, MAX_ANCHOR, bound)
        # in one piece: NumPy's cosine of a column of something larger may round in another way
        centre, bearing = np.ascontiguousarray(anchors[:, :3]), np.ascontiguousarray(anchors[:, 3])
        return Rasters(maps, geometry, Anchors(centre, bearing), np.zeros(len(self), np.int64))


def read_crops(request: protocol.ModelInferRequest, side: int, limits: Limits) -> CropTensors:
    """Return the inputs of a request; raises InvalidArgument where they are malformed, TooLarge for too many crops."""
    found = read_inputs(request, input_specs(side), optional=[ANCHORS])
    maps = found[MAPS]
    check_limit(f"{maps.path}.shape", maps.shape[0], limits.max_crops, "crops")
    for name, tensor in found.items():
        if tensor.shape[0] != maps.shape[0]:
            bound = f"{maps.shape[0]} rows for {name}, as many as {MAPS} has"
            raise InvalidArgument.of(f"{tensor.path}.shape", list(tensor.shape), bound)
    return CropTensors(maps, found[GEOMETRY_INPUT], found.get(ANCHORS))


def slice_rasters(rasters: Rasters, part: slice) -> Rasters:
    """Return some of the crops."""
    anchors = Anchors(rasters.anchors.centre[part], rasters.anchors.bearing[part])
    return Rasters(rasters.maps[part], rasters.geometry[part], anchors, rasters.points[part])


def _within(tensor: InputTensor, lowest: Any, highest: Any, bound: str) -> NDArray[Any]:
    values = tensor.values()
    # NaN fails every comparison
    sound = (values >= lowest) & (values <= highest)
    if not sound.all():
        place = np.unravel_index(int(np.argmin(sound)), sound.shape)
        raise InvalidArgument.of(tensor.path, f"{values[place]} at {[int(i) for i in place]}", bound)
    return values
