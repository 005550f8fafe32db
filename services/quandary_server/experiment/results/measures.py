"""What performance is measured in."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from quandary_server.evaluation.savings import Better

Sample = TypeVar("Sample")


@dataclass(frozen=True, slots=True)
class Measure:
    """A figure of a round: its name in the records, what the report calls it, its unit, which way it improves."""

    name: str
    title: str
    unit: str
    better: Better


MACRO_RECALL = Measure("macro_recall", "macro recall", "share", Better.HIGHER)
ACCURACY = Measure("accuracy", "accuracy", "share", Better.HIGHER)
NLL = Measure("nll", "NLL", "nats", Better.LOWER)
CENTRE = Measure("mean_centre_error", "mean centre error", "m", Better.LOWER)
DEPTH = Measure("mean_depth_error", "mean depth error", "m", Better.LOWER)
SIZE = Measure("mean_size_error", "mean size error", "m", Better.LOWER)
IOU = Measure("mean_iou", "mean IoU", "share", Better.HIGHER)

MEASURES = (MACRO_RECALL, ACCURACY, NLL, CENTRE, DEPTH, SIZE, IOU)
"""Those that have a curve."""

SAVED = (MACRO_RECALL, ACCURACY, CENTRE, DEPTH, SIZE, IOU)
"""Those that labels are saved at."""

CLASS_MEASURES = (MACRO_RECALL, ACCURACY)


def share_name(share: float) -> str:
    """Return a target's share as figures are named: 98 of 0.98, 99_5 of 0.995."""
    return f"{share * 100:.6g}".replace(".", "_")


def saved_name(replay: str, method: str, measure: str, share: float) -> str:
    """Return the name of the figure of a saving."""
    return f"saved_{replay}_{method}_{measure}_{share_name(share)}"


def middle(samples: Sequence[Sample]) -> Sample:
    """Return the middle of at least one sample by budget, the earlier of two: where methods differ in what they asked for."""
    return samples[(len(samples) - 1) // 2]


def curve_name(replay: str, arm: str, measure: str) -> str:
    """Return the name of the figure of a learning curve; arm: a method, or random_<estimator> for another than its own."""
    return f"curve_{replay}_{arm}_{measure}"
