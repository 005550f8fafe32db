"""Where 2D proposals come from."""

from enum import StrEnum


class ProposalSource(StrEnum):
    """The labels' 2D boxes and background beside them, or the folder's published detections."""

    LABELS = "labels"
    DETECTIONS = "detections"
