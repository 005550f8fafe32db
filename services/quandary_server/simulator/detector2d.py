"""2D proposals as an imperfect detector of the camera would make them."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType

import numpy as np

from quandary.frames import Proposal
from quandary.geometry import Calibration, ImageBox
from quandary_server.simulator.sights import Sight

HINTS: Mapping[str, str] = MappingProxyType({
    "Car": "Car", "Van": "Car", "Truck": "Car", "Tram": "Car", "Misc": "Car", "Pedestrian": "Pedestrian",
    "Person_sitting": "Pedestrian", "Cyclist": "Cyclist",
})  # fmt: skip
"""The nearest of the detector's three classes."""

KEENNESS: Mapping[str, float] = MappingProxyType({
    "Car": 1.0, "Van": 0.5, "Truck": 0.0, "Tram": -0.5, "Misc": -0.8, "Pedestrian": 0.4, "Person_sitting": -0.3, "Cyclist": 0.2,
})  # fmt: skip

HALF_SEEN_HEIGHT_PX = 18.0
UNLABELLED = 4.0
SECOND_BOX_SHARE = 0.05
FALSE_ON_CLUTTER_SHARE = 0.2
FALSE_ANYWHERE = 0.8
MIN_SIDE_PX = 4.0


def detections(
    seen: Sequence[Sight], labelled: frozenset[int], calibration: Calibration, rng: np.random.Generator
) -> list[Proposal]:
    """Return the proposals of a frame: most objects in loose boxes, some twice, and some of what is none.

    labelled: owners that people label, which is what such detectors are trained to find.
    """
    found: list[Proposal | None] = []
    for sight in seen:
        if sight.class_name:
            found += _of_object(sight, sight.owner in labelled, calibration, rng)
        elif sight.lookalike and sight.visible > 0.3 and rng.random() < FALSE_ON_CLUTTER_SHARE:
            found.append(_proposal(sight.image_box, 0.15, _confidence(-1.6, rng), sight.lookalike, calibration, rng))
    for _ in range(rng.poisson(FALSE_ANYWHERE)):
        found.append(_proposal(_anywhere(calibration, rng), 0.05, _confidence(-2.2, rng), "Car", calibration, rng))
    return [proposal for proposal in found if proposal is not None]


def _of_object(sight: Sight, labelled: bool, calibration: Calibration, rng: np.random.Generator) -> list[Proposal | None]:
    clarity = (
        1.0
        + KEENNESS[sight.class_name]
        + 1.2 * np.log2(sight.image_box.height_px / HALF_SEEN_HEIGHT_PX)
        + 5.0 * (sight.visible - 0.85)
        - 2.0 * max(sight.truncation - 0.3, 0.0)
        - (0.0 if labelled else UNLABELLED)
    )
    # Boxes get looser as the object gets harder to make out.
    looseness = float(np.clip(0.09 - 0.015 * clarity, 0.025, 0.16))
    hint = HINTS[sight.class_name]
    proposals: list[Proposal | None] = []
    if rng.random() < 1 / (1 + np.exp(-clarity)):
        proposals.append(_proposal(sight.image_box, looseness, _confidence(clarity, rng), hint, calibration, rng))
    if rng.random() < SECOND_BOX_SHARE:
        proposals.append(_proposal(sight.image_box, 3 * looseness, _confidence(clarity - 4, rng), hint, calibration, rng))
    return proposals


def _confidence(clarity: float, rng: np.random.Generator) -> float:
    return float(1 / (1 + np.exp(-clarity - rng.normal(0.3, 1.3))))


def _proposal(
    box: ImageBox, looseness: float, confidence: float, hint: str, calibration: Calibration, rng: np.random.Generator
) -> Proposal | None:
    """Return the box with each edge moved by about `looseness` of its side, or None if too little of it is in the image."""
    left, top, right, bottom = rng.normal(0.0, looseness, 4) * [box.width_px, box.height_px, box.width_px, box.height_px]
    left, right = box.left_px + left, box.right_px + right
    top, bottom = box.top_px + top, box.bottom_px + bottom
    if right - left < MIN_SIDE_PX or bottom - top < MIN_SIDE_PX:
        return None
    clipped = ImageBox(left, top, right, bottom).clipped(calibration.image_width_px, calibration.image_height_px)
    if clipped is None or min(clipped.width_px, clipped.height_px) < MIN_SIDE_PX:
        return None
    return Proposal(clipped, confidence, hint)


def _anywhere(calibration: Calibration, rng: np.random.Generator) -> ImageBox:
    height = 45.0 * rng.lognormal(0.0, 0.6)
    width = height * rng.lognormal(0.3, 0.5)
    x = rng.uniform(0.0, calibration.image_width_px)
    bottom = float(calibration.projection[1, 2]) + height * rng.uniform(0.6, 1.1)
    return ImageBox(x - width / 2, bottom - height, x + width / 2, bottom)
