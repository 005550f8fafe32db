"""The loss: cross-entropy of the class, and the heteroscedastic box loss of Kendall and Gal 2017 (arXiv 1703.04977)."""

import torch
from torch import Tensor
from torch.nn import functional

from quandary.labels import BACKGROUND, CLASSES

BACKGROUND_INDEX = CLASSES.index(BACKGROUND)
OFFSET_SCALE_M = 1.0


def detection_loss(
    logits: Tensor, box: Tensor, log_variance: Tensor, classes: Tensor, target: Tensor, box_weight: float
) -> Tensor:
    """Return the mean loss of logits (D, C), box (D, 8), log-variance (D, 7) against classes (D,) and boxes (D, 8).

    Per parameter 0.5 exp(-s) L + 0.5 s with s the log-variance and L the smooth L1 distance (twice, so that it is the square
    near zero); of yaw the squared chord between the directions. Background has no box.
    """
    classification = functional.cross_entropy(logits, classes)
    labelled = classes != BACKGROUND_INDEX
    if not bool(labelled.any()):
        return classification

    box, target, s = box[labelled], target[labelled], log_variance[labelled]
    plain = 2 * functional.smooth_l1_loss(box[:, :6], target[:, :6], reduction="none", beta=OFFSET_SCALE_M)
    yaw = ((box[:, 6:] - target[:, 6:]) ** 2).sum(dim=1, keepdim=True)
    distance = torch.cat([plain, yaw], dim=1)
    regression = (0.5 * torch.exp(-s) * distance + 0.5 * s).mean()
    return classification + box_weight * regression
