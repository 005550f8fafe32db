"""Whether labels can be: sizes that their classes have, boxes where the cloud is, no object twice."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from quandary.errors import InvalidArgument, Violation
from quandary.labels import Label
from quandary_server.evaluation.boxes import ious

Range = tuple[float, float]

SIZES_M: Mapping[str, tuple[Range, Range, Range]] = MappingProxyType({
    "Car": ((1.5, 8.0), (0.8, 3.0), (0.8, 3.5)),
    "Van": ((2.0, 10.0), (1.0, 3.5), (1.0, 4.5)),
    "Truck": ((2.5, 25.0), (1.2, 4.0), (1.5, 5.5)),
    "Pedestrian": ((0.1, 2.5), (0.1, 2.0), (0.6, 2.6)),
    "Person_sitting": ((0.2, 2.5), (0.2, 2.0), (0.4, 2.2)),
    "Cyclist": ((0.6, 3.5), (0.2, 1.8), (0.8, 2.8)),
    "Tram": ((2.0, 80.0), (1.2, 4.5), (1.8, 6.0)),
    "Misc": ((0.2, 30.0), (0.1, 5.0), (0.2, 6.0)),
})  # fmt: skip
"""Length, width and height that a label of each class may have: about half the least and one and a half times the most that
KITTI's 40,570 labels have. What is outside is a slip (feet, two cars in one box), never an unusual object."""

MARGIN_M = np.array([10.0, 10.0, 2.0])
"""So far outside of all points a box may be: of 1,425 labels of real frames one, a tram, is by 6.7 m."""

AXES = ("ahead of the LiDAR", "to the left of the LiDAR", "above the LiDAR")
"""What x, y and z are: who edits KITTI files thinks in the camera's axes."""

MIN_DUPLICATE_IOU = 0.7
"""In volume: two labels of one KITTI frame share 0.44 at the most."""


@dataclass(frozen=True)
class Extent:
    """The least box around the points of a cloud: low (3,) and high (3,) in metres."""

    low: NDArray[np.float64]
    high: NDArray[np.float64]

    @classmethod
    def of(cls, points: NDArray[np.float32]) -> "Extent | None":
        """Return the extent of points (N, >= 3), None if there are none."""
        if not len(points):
            return None
        places = points[:, :3]
        return cls(places.min(axis=0).astype(np.float64), places.max(axis=0).astype(np.float64))


def check_plausible(labels: Sequence[Label], extent: Extent | None) -> None:
    """Raise InvalidArgument with every wrong field, below labels[i]; extent: of the frame's points, None where not known."""
    wrong = [violation for i, label in enumerate(labels) for violation in _size_violations(f"labels[{i}].box", label)]
    if extent is not None:
        for i, label in enumerate(labels):
            wrong += _place_violations(f"labels[{i}].box", label, extent)
    wrong += _duplicates(labels)
    if wrong:
        raise InvalidArgument.all(wrong)


def _size_violations(field: str, label: Label) -> list[Violation]:
    found = []
    for name, (least, most) in zip(("length_m", "width_m", "height_m"), SIZES_M[label.class_name], strict=True):
        value = getattr(label.box, name)
        if not least <= value <= most:
            found.append(Violation(f"{field}.{name}", f"{value:g}", f"in [{least:g}, {most:g}] m for a {label.class_name}"))
    return found


def _place_violations(field: str, label: Label, extent: Extent) -> list[Violation]:
    corners = label.box.corners()
    low, high = extent.low - MARGIN_M, extent.high + MARGIN_M
    outside = (corners.max(axis=0) < low) | (corners.min(axis=0) > high)
    names = ("x_m", "y_m", "z_m")
    return [
        Violation(
            f"{field}.{names[axis]}",
            f"{label.box.centre[axis]:g}",
            f"so that the box reaches into [{low[axis]:.1f}, {high[axis]:.1f}] m {AXES[axis]}, the points and "
            f"{MARGIN_M[axis]:g} m around them",
        )
        for axis in np.flatnonzero(outside)
    ]


def _duplicates(labels: Sequence[Label]) -> list[Violation]:
    first, second = np.triu_indices(len(labels), 1)
    if not len(first):
        return []
    centres = np.array([label.box.centre for label in labels])
    reach = np.array([np.linalg.norm(label.box.extents) for label in labels]) / 2
    near = np.linalg.norm(centres[first] - centres[second], axis=1) < np.minimum(reach[first], reach[second])
    first, second = first[near], second[near]
    shared = ious([labels[i].box for i in first], [labels[j].box for j in second])
    return [
        Violation(f"labels[{j}].box", f"{share:.2f} of labels[{i}]'s", f"below {MIN_DUPLICATE_IOU:g} in IoU: no object twice")
        for i, j, share in zip(first, second, shared, strict=True)
        if share >= MIN_DUPLICATE_IOU
    ]
