"""Jittered proposals: does the answer hang on how exactly the camera framed the object?

The points of a frame may have been cut by the client, and then only those in the grown proposal are there. So a jittered
proposal lies within the proposal: its sides are drawn inwards, and its grown frustum holds no point that was not sent. A cloud
and crops give the same answer, to the bit.
"""

from collections.abc import Sequence
from struct import pack

import numpy as np
from numpy.typing import NDArray

from quandary.frustum import crop_frusta
from quandary.geometry import MIN_IMAGE_BOX_PX, Calibration, ImageBox

REACH = 0.15
"""Each side of a box moves inwards by up to this share of the box's width or height."""


def jittered_proposals(box: ImageBox, calibration: Calibration, count: int, seed: int) -> list[ImageBox]:
    """Return jittered copies of a proposal that overlaps the image: inside both.

    They follow from the seed and the box alone, whatever its place and company; fewer are a prefix of more.
    """
    own = pack("<4d", *(edge + 0.0 for edge in (box.left_px, box.top_px, box.right_px, box.bottom_px)))
    rng = np.random.default_rng([seed, int.from_bytes(own, "little")])
    inside = box.clipped(calibration.image_width_px, calibration.image_height_px)
    if inside is None:
        raise ValueError(f"{box} is outside of the image")
    return [_drawn_in(inside, *shares) for shares in (rng.random((count, 4)) * REACH).tolist()]


def jittered_crops(
    crops: Sequence[NDArray[np.float32]], calibration: Calibration, boxes: Sequence[ImageBox], count: int, seed: int
) -> tuple[list[NDArray[np.float32]], list[ImageBox]]:
    """Return the crops of `count` jittered proposals of each crop, cut from that crop, and their boxes; object by object."""
    cut: list[NDArray[np.float32]] = []
    drawn: list[ImageBox] = []
    for crop, box in zip(crops, boxes, strict=True):
        jittered = jittered_proposals(box, calibration, count, seed)
        cut += crop_frusta(crop, calibration, jittered)
        drawn += jittered
    return cut, drawn


def _drawn_in(box: ImageBox, left: float, top: float, right: float, bottom: float) -> ImageBox:
    """Return the box with its sides drawn in by these shares, where it is large enough for that."""
    left, right = (left * box.width_px, right * box.width_px) if box.width_px > 2 * MIN_IMAGE_BOX_PX else (0.0, 0.0)
    top, bottom = (top * box.height_px, bottom * box.height_px) if box.height_px > 2 * MIN_IMAGE_BOX_PX else (0.0, 0.0)
    return ImageBox(box.left_px + left, box.top_px + top, box.right_px - right, box.bottom_px - bottom)
