"""The oracle's labels: what KITTI's annotators would have labelled, and what they would have left as DontCare."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from quandary.labels import Label
from quandary_server.datasets.labels import LabelFile
from quandary_server.simulator.sights import Sight

MIN_HEIGHT_PX: Mapping[str, tuple[float, float]] = MappingProxyType({
    "Car": (21.0, 3.0), "Van": (23.0, 4.0), "Truck": (29.0, 5.0), "Pedestrian": (54.0, 15.0), "Person_sitting": (55.0, 12.0),
    "Cyclist": (30.0, 7.0), "Tram": (32.0, 5.0), "Misc": (25.0, 5.0),
})  # fmt: skip
"""Height in the image from which an object is labelled: mean and deviation from object to object, after KITTI's labels."""

MIN_POINTS = 6.0
KNOWN_ANYWAY = -2.1
"""An object this little strict is labelled without points too: seen in other frames. (2 % of KITTI's boxes are empty.)"""

MIN_VISIBLE = 0.10
OCCLUSION_BOUNDS = (0.85, 0.45)
"""At least so visible: occlusion 0, then 1; below them 2."""

UNKNOWN_BELOW = 1.2
"""Up to this multiple of its least height nobody can tell how far a hidden object is hidden: occlusion 3."""

MAX_TRUNCATION = 0.93
MIN_REGION_PX = 14.0
MIN_REGION_VISIBLE = 0.5


@dataclass(frozen=True)
class OracleLabels:
    """The labels of a frame, and their owners in the same order."""

    content: LabelFile
    owners: tuple[int, ...]


def oracle_labels(seen: Sequence[Sight], points: NDArray[np.integer], strictness: NDArray[np.float64]) -> OracleLabels:
    """Return the labels of a frame.

    points: LiDAR points (owners,) on each body. strictness: standard normal (owners, 2), how tall in the image and how well
    covered with points each object has to be. Objects that are not labelled but can be made out become ignored regions.
    """
    labels, boxes, owners, regions = [], [], list[int](), []
    for sight in seen:
        if not sight.class_name or sight.visible < MIN_VISIBLE or sight.image_box.height_px < MIN_REGION_PX:
            continue
        mean, deviation = MIN_HEIGHT_PX[sight.class_name]
        by_height, by_points = strictness[sight.owner].tolist()
        least_px = mean + deviation * by_height
        covered = points[sight.owner] >= MIN_POINTS * 2**by_points or by_points < KNOWN_ANYWAY
        if sight.image_box.height_px >= least_px and covered and sight.truncation <= MAX_TRUNCATION:
            labels.append(Label(sight.class_name, sight.box, round(sight.truncation, 2), _occlusion(sight, least_px)))
            boxes.append(sight.image_box)
            owners.append(sight.owner)
        elif sight.visible >= MIN_REGION_VISIBLE:
            regions.append(sight.image_box)
    return OracleLabels(LabelFile(tuple(labels), tuple(boxes), tuple(regions)), tuple(owners))


def _occlusion(sight: Sight, least_px: float) -> int:
    level = int(np.sum(sight.visible < np.array(OCCLUSION_BOUNDS)))
    return 3 if level == 2 and sight.image_box.height_px < UNKNOWN_BELOW * least_px else level
