"""The loss: cross-entropy of the class, and a heteroscedastic box loss.

The box loss is that of Kendall and Gal 2017 (arXiv 1703.04977), each parameter's weighed by the power BETA of its own variance
(Seitzer et al. 2022, arXiv 2203.09168): otherwise what is badly predicted learns slowest.
"""

import torch
from torch import Tensor
from torch.nn import functional

from quandary.labels import BACKGROUND, CLASSES
from quandary_server.frustum.anchor import AXIS, HEADING

BACKGROUND_INDEX = CLASSES.index(BACKGROUND)
OFFSET_SCALE_M = 1.0
BETA = 0.5
HEADING_WEIGHT = 0.05


def detection_loss(
    logits: Tensor,
    box: Tensor,
    log_variance: Tensor,
    classes: Tensor,
    target: Tensor,
    box_weight: float,
    class_weights: Tensor | None = None,
) -> Tensor:
    """Return the mean loss of logits (D, C), box (D, 10), log-variance (D, 7) against classes (D,) and boxes (D, 10).

    Per parameter (0.5 exp(-s) L + 0.5 s) v with s the log-variance, v = exp(BETA s) held constant, and L the smooth L1 distance
    (twice, so that it is the square near zero); of yaw the squared chord between the doubled angles, over 4, which for a small
    error is its square. The heading has a small loss of its own, without a variance. Background has no box.
    class_weights (C,): of the cross-entropy, whose mean is over the weights; None: all alike.
    """
    classification = functional.cross_entropy(logits, classes, class_weights)
    labelled = classes != BACKGROUND_INDEX
    if not bool(labelled.any()):
        return classification

    box, target, s = box[labelled], target[labelled], log_variance[labelled]
    plain = 2 * functional.smooth_l1_loss(box[:, :6], target[:, :6], reduction="none", beta=OFFSET_SCALE_M)
    yaw = ((box[:, AXIS] - target[:, AXIS]) ** 2).sum(dim=1, keepdim=True) / 4
    distance = torch.cat([plain, yaw], dim=1)
    weight = torch.exp(BETA * s.detach())
    regression = ((0.5 * torch.exp(-s) * distance + 0.5 * s) * weight).mean()
    heading = ((box[:, HEADING] - target[:, HEADING]) ** 2).sum(dim=1).mean()
    return classification + box_weight * (regression + HEADING_WEIGHT * heading)
