"""What a labeller hands in: the objects of a frame, complete inside its proposals."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from quandary.errors import InvalidArgument
from quandary.frames import check_identifier
from quandary.geometry import Box3D, ImageBox

__all__ = ["BACKGROUND", "CLASSES", "LABEL_CLASSES", "FrameLabels", "Label"]

LABEL_CLASSES = ("Car", "Van", "Truck", "Pedestrian", "Person_sitting", "Cyclist", "Tram", "Misc")
"""The classes that can be labelled, as KITTI names them."""

BACKGROUND = "Background"
"""What a proposal without a label becomes; it is never labelled itself."""

CLASSES = (*LABEL_CLASSES, BACKGROUND)
"""The classes in the order of the detector's outputs; Background is the last."""


@dataclass(frozen=True, slots=True)
class Label:
    """One labelled object; truncation is the share outside the image, occlusion 0 visible to 2 largely, 3 unknown.

    Raises InvalidArgument for an unknown class, a truncation outside [0, 1] or an occlusion outside 0 to 3.
    """

    class_name: str
    box: Box3D
    truncation: float | None = None
    occlusion: int | None = None

    def __post_init__(self) -> None:
        if self.class_name not in LABEL_CLASSES:
            raise InvalidArgument.of("class_name", repr(self.class_name), f"one of {', '.join(LABEL_CLASSES)}")
        if self.truncation is not None and not 0 <= self.truncation <= 1:
            raise InvalidArgument.of("truncation", self.truncation, "in [0, 1]")
        if self.occlusion is not None and self.occlusion not in (0, 1, 2, 3):
            raise InvalidArgument.of("occlusion", self.occlusion, "0, 1, 2 or 3")


@dataclass(frozen=True, slots=True)
class FrameLabels:
    """All labels of one frame. In `ignored_regions` objects were not labelled, so proposals there teach nothing.

    Raises InvalidArgument for a malformed frame id or a negative time.
    """

    frame_id: str
    labels: Sequence[Label] = ()
    ignored_regions: Sequence[ImageBox] = ()
    time_spent: timedelta = timedelta()
    prelabel_generation: str = ""

    def __post_init__(self) -> None:
        check_identifier("frame_id", self.frame_id)
        if self.prelabel_generation:
            check_identifier("prelabel_generation", self.prelabel_generation)
        if self.time_spent < timedelta():
            raise InvalidArgument.of("time_spent", self.time_spent, ">= 0")
