"""Labels to proposals: which crop shows which labelled object, which shows background, which teaches nothing."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from quandary.frames import Proposal
from quandary.geometry import Calibration, ImageBox
from quandary.labels import BACKGROUND, FrameLabels, Label

MIN_IOU = 0.5
MAX_BACKGROUND_IOU = 0.3
"""At this much overlap a proposal shows part of an object: no background (Faster R-CNN's bound, arXiv 1506.01497)."""

MIN_IGNORED_SHARE = 0.5


class OutcomeKind(Enum):
    """What the labels say about a proposal."""

    OBJECT = "object"
    BACKGROUND = "background"
    IGNORED = "ignored"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the labels say about one proposal; label is set for an OBJECT, iou is the best overlap with a projected label."""

    kind: OutcomeKind
    label: Label | None
    iou: float

    @property
    def class_name(self) -> str | None:
        """The class that the crop teaches: the label's, Background, or None if it teaches nothing."""
        if self.kind is OutcomeKind.IGNORED:
            return None
        return BACKGROUND if self.label is None else self.label.class_name


def match_labels(labels: FrameLabels, proposals: Sequence[Proposal], calibration: Calibration) -> list[Outcome]:
    """Return one outcome per proposal.

    Labels are assigned to proposals one to one so that the sum of IoU is largest (Hungarian), counting pairs of IoU >= 0.5
    between the proposal and the label's projection clipped to the image. A proposal left over is IGNORED if it shows part of
    a labelled object all the same (IoU >= 0.3: a second detection, a loose box) or if more than half of it lies over ignored
    regions; else it is BACKGROUND. A label out of view, or hidden so far that the camera proposes under half of its
    projection, finds no proposal: nothing of it is taught.
    """
    ious = _ious(labels.labels, proposals, calibration)
    assigned = _assigned(ious)
    best = ious.max(axis=0, initial=0.0)
    outcomes = []
    for j, proposal in enumerate(proposals):
        if j in assigned:
            i = assigned[j]
            outcomes.append(Outcome(OutcomeKind.OBJECT, labels.labels[i], float(ious[i, j])))
        elif best[j] >= MAX_BACKGROUND_IOU or covered_share(proposal.box, labels.ignored_regions) > MIN_IGNORED_SHARE:
            outcomes.append(Outcome(OutcomeKind.IGNORED, None, float(best[j])))
        else:
            outcomes.append(Outcome(OutcomeKind.BACKGROUND, None, float(best[j])))
    return outcomes


def covered_share(box: ImageBox, regions: Sequence[ImageBox]) -> float:
    """Return the share of the box's area that the union of the regions covers, in [0, 1]."""
    near = [region for region in regions if box.overlap_px(region) > 0]
    if not near:
        return 0.0
    # The edges of all regions cut the box into cells, each wholly inside or outside of each region.
    xs = np.unique(np.clip([box.left_px, box.right_px, *(e for r in near for e in (r.left_px, r.right_px))],
                           box.left_px, box.right_px))  # fmt: skip
    ys = np.unique(np.clip([box.top_px, box.bottom_px, *(e for r in near for e in (r.top_px, r.bottom_px))],
                           box.top_px, box.bottom_px))  # fmt: skip
    covered = np.zeros((len(ys) - 1, len(xs) - 1), dtype=bool)
    for region in near:
        columns = (xs[:-1] >= region.left_px) & (xs[1:] <= region.right_px)
        rows = (ys[:-1] >= region.top_px) & (ys[1:] <= region.bottom_px)
        covered |= rows[:, None] & columns[None, :]
    areas = np.diff(ys)[:, None] * np.diff(xs)[None, :]
    return float(areas[covered].sum() / areas.sum())


def _ious(labels: Sequence[Label], proposals: Sequence[Proposal], calibration: Calibration) -> NDArray[np.float64]:
    ious = np.zeros((len(labels), len(proposals)))
    for i, label in enumerate(labels):
        projected = calibration.project_box(label.box)
        if projected is not None:
            ious[i] = [projected.iou(proposal.box) for proposal in proposals]
    return ious


def _assigned(ious: NDArray[np.float64]) -> dict[int, int]:
    worth = np.where(ious >= MIN_IOU, ious, 0.0)
    rows, columns = linear_sum_assignment(worth, maximize=True)
    return {int(j): int(i) for i, j in zip(rows, columns, strict=True) if worth[i, j] > 0}
