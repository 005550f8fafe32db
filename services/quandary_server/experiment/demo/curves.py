"""How an arm does, round by round."""

from collections import Counter
from dataclasses import dataclass, field

import numpy as np

from quandary.labels import CLASSES
from quandary.options import ScoringOptions
from quandary_server.detector.assessment import Assessment, assess
from quandary_server.detector.examples import Examples
from quandary_server.evaluation.bootstrap import grouping, macro_recall_interval
from quandary_server.evaluation.classes import frequent_classes, macro_recall
from quandary_server.inference.generation import LoadedGeneration

BOOTSTRAP_SEED = 0
MIN_CROPS_OF_CLASS = 10
"""Classes with fewer crops in the evaluation drives do not enter the macro recall: one object would decide it."""


@dataclass(frozen=True)
class Point:
    """Figures after a round, on the evaluation drives; the 95 % interval is over the evaluation frames, not over seeds.

    The centre's error is the median: a few objects, whose anchors lie on what is behind them, are half of the mean.
    """

    labels: int
    macro_recall: float
    macro_recall_interval: tuple[float, float]
    nll: float
    median_centre_error_m: float
    iou: float


@dataclass
class Arm:
    """One way of choosing what to label: its curve, the classes it queried, and its last assessment."""

    name: str
    points: list[Point] = field(default_factory=list)
    queried: Counter[str] = field(default_factory=Counter)
    last: Assessment | None = None

    def measure(self, generation: LoadedGeneration, labels: int, evaluation: Examples, options: ScoringOptions) -> Point:
        """Add how a generation does that was trained on so many labels."""
        found = assess(generation, evaluation, options)
        objects, judged = found.objects, judged_classes(evaluation)
        groups = grouping(evaluation.drives.tolist(), evaluation.frames.tolist())
        rng = np.random.default_rng(BOOTSTRAP_SEED)
        point = Point(
            labels,
            macro_recall(found.classes, found.predicted, judged),
            macro_recall_interval(found.classes, found.predicted, judged, groups, rng),
            float(found.nll.mean()),
            float(np.median(found.centre_error[objects])),
            float(found.iou[objects].mean()),
        )
        self.points.append(point)
        self.last = found
        return point

    def ask(self, examples: Examples) -> None:
        """Count the classes of newly labelled crops."""
        self.queried.update(CLASSES[index] for index in examples.classes.tolist())


def judged_classes(evaluation: Examples) -> list[int]:
    """Return the classes that the macro recall is over: those with at least 10 crops."""
    return frequent_classes(evaluation.classes, len(CLASSES), MIN_CROPS_OF_CLASS)
