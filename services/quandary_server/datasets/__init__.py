"""Frames and labels from outside: the KITTI object layout, for real and simulated fleets alike."""

from .clouds import read_cloud
from .kitti import DatasetFrame, KittiFolder
from .matching import Outcome, OutcomeKind, match_labels
from .proposals import detection_proposals, label_proposals
from .records import frame_record

__all__ = [
    "DatasetFrame",
    "KittiFolder",
    "Outcome",
    "OutcomeKind",
    "detection_proposals",
    "frame_record",
    "label_proposals",
    "match_labels",
    "read_cloud",
]
