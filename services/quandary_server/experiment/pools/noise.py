"""2D proposals made worse: shifted, scaled, missed."""

from collections.abc import Sequence
from dataclasses import replace
from zlib import crc32

import numpy as np

from quandary.frames import Proposal
from quandary.geometry import Calibration, ImageBox
from quandary_server.experiment.settings import NoiseSettings

MIN_SIDE_PX = 4.0

NOISE = 1
"""A frame's noise has a stream of its own: background boxes are drawn by seed and frame id alone."""


def noisy(
    proposals: Sequence[Proposal], noise: NoiseSettings, calibration: Calibration, frame_id: str, seed: int
) -> list[Proposal]:
    """Return the proposals of a frame with their boxes shifted and scaled, without those missed or left under 4 px wide.

    The same seed and frame id give the same boxes; no noise gives the proposals themselves.
    """
    if noise == NoiseSettings():
        return list(proposals)
    rng = np.random.default_rng([seed, crc32(frame_id.encode()), NOISE])
    found = []
    for proposal in proposals:
        missed, shift, scale = float(rng.random()), rng.normal(size=2).tolist(), rng.normal(size=2).tolist()
        box = _moved(
            proposal.box, shift[0] * noise.shift, shift[1] * noise.shift, scale[0] * noise.scale, scale[1] * noise.scale
        )
        clipped = box.clipped(calibration.image_width_px, calibration.image_height_px)
        if missed >= noise.missed and clipped is not None and min(clipped.width_px, clipped.height_px) >= MIN_SIDE_PX:
            found.append(replace(proposal, box=clipped))
    return found


def _moved(box: ImageBox, right: float, down: float, log_width: float, log_height: float) -> ImageBox:
    centre_x = (box.left_px + box.right_px) / 2 + right * box.width_px
    centre_y = (box.top_px + box.bottom_px) / 2 + down * box.height_px
    half_x, half_y = np.exp(log_width) * box.width_px / 2, np.exp(log_height) * box.height_px / 2
    return ImageBox(float(centre_x - half_x), float(centre_y - half_y), float(centre_x + half_x), float(centre_y + half_y))
