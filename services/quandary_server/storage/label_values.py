"""The values of the labels: a labelled frame, its JSON, and the counts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from quandary.geometry import Box3D, ImageBox
from quandary.labels import FrameLabels, Label
from quandary_server.storage.task_values import CONTROL_QUEUE

__all__ = ["LabelCounts", "LabelledFrame", "Submitted", "frame_labels_from", "frame_labels_json"]

BOX = ("x_m", "y_m", "z_m", "length_m", "width_m", "height_m", "yaw_rad")
REGION = ("left_px", "top_px", "right_px", "bottom_px")


@dataclass(frozen=True, slots=True)
class LabelledFrame:
    """The labels of a frame as they are kept, with the serialised FrameRecord that they were given for.

    sequence: grows with every change of any labels. crops: the frame's proposals, which is what its labels cost.
    """

    labels: FrameLabels
    drive_id: str
    queue: str
    labeller: str
    label_time: datetime
    sequence: int
    crops: int
    record: bytes = field(repr=False)

    @property
    def frame_id(self) -> str:
        """The frame."""
        return self.labels.frame_id

    @property
    def control(self) -> bool:
        """Whether it is kept for evaluation and never trained on."""
        return self.queue == CONTROL_QUEUE


@dataclass(frozen=True, slots=True)
class LabelCounts:
    """Labelled frames and their crops, those of the control drives apart; sequence: the newest label of all."""

    frames: int
    crops: int
    control_frames: int
    control_crops: int
    sequence: int


@dataclass(frozen=True, slots=True)
class Submitted:
    """What an import did: frames stored, frames that had these very labels already; replaced: stored ones that had others."""

    stored: int
    unchanged: int
    replaced: int = 0


def frame_labels_json(frame: FrameLabels) -> dict[str, Any]:
    """Return a frame's labels as JSON that people can read, without its id; all numbers are kept to the last bit."""
    return {
        "labels": [_label_json(label) for label in frame.labels],
        "ignored_regions": [_fields(region, REGION) for region in frame.ignored_regions],
        "seconds_spent": frame.time_spent.total_seconds(),
        "prelabel_generation": frame.prelabel_generation,
    }


def frame_labels_from(frame_id: str, values: Mapping[str, Any]) -> FrameLabels:
    """Return the labels of such JSON. Raises KeyError, TypeError or InvalidArgument for any other."""
    labels: Sequence[Mapping[str, Any]] = values["labels"]
    return FrameLabels(
        frame_id,
        tuple(Label(v["class"], Box3D(**v["box"]), v.get("truncation"), v.get("occlusion")) for v in labels),
        tuple(ImageBox(**region) for region in values["ignored_regions"]),
        timedelta(seconds=values["seconds_spent"]),
        values["prelabel_generation"],
    )


def _label_json(label: Label) -> dict[str, Any]:
    found: dict[str, Any] = {"class": label.class_name, "box": _fields(label.box, BOX)}
    if label.truncation is not None:
        found["truncation"] = float(label.truncation)
    if label.occlusion is not None:
        found["occlusion"] = int(label.occlusion)
    return found


def _fields(box: Box3D | ImageBox, names: Sequence[str]) -> dict[str, float]:
    # float: 1 and 1.0 are the same label and must be the same text
    return {name: float(getattr(box, name)) for name in names}
