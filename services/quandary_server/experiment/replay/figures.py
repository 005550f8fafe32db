"""What is measured after a round."""

import numpy as np
from numpy.typing import NDArray

from quandary.labels import CLASSES
from quandary_server.detector.assessment import Assessment
from quandary_server.detector.examples import Examples
from quandary_server.evaluation.classes import macro_recall, recalls
from quandary_server.experiment.replay.rounds import JudgedClasses
from quandary_server.experiment.settings import CostSettings

MIN_CROPS_OF_CLASS = 20
"""Classes with fewer crops in the evaluation drives do not enter the macro recall: single objects would decide it."""


def judged_classes(evaluation: Examples, *taught: Examples) -> list[int]:
    """Return the classes that the macro recall is over: those judged often enough that could be learnt at all."""
    counts = np.bincount(evaluation.classes, minlength=len(CLASSES))
    known = {int(index) for examples in taught for index in examples.classes}
    return [int(index) for index in np.flatnonzero(counts >= MIN_CROPS_OF_CLASS) if int(index) in known]


def told_classes(evaluation: Examples, *taught: Examples) -> JudgedClasses:
    """Return which classes the macro recall is over, and which that evaluation shows are left out."""
    counts = class_counts(evaluation.classes)
    judged = {CLASSES[index]: counts[CLASSES[index]] for index in judged_classes(evaluation, *taught)}
    left_out = {name: count for name, count in counts.items() if count and name not in judged}
    return JudgedClasses(judged=judged, left_out=left_out)


def round_figures(found: Assessment, judged: list[int]) -> dict[str, float]:
    """Return the figures of one assessment, by name: of the classes judged, and of the boxes in metres."""
    figures = found.figures()
    objects = found.objects
    figures["macro_recall"] = macro_recall(found.classes, found.predicted, judged)
    figures |= {
        f"recall_{CLASSES[c]}": recall for c, recall in recalls(found.classes, found.predicted, range(len(CLASSES))).items()
    }
    if objects.any():
        figures |= {
            f"median_{name}": float(np.median(getattr(found, name)[objects])) for name in ("centre_error", "size_error")
        }
    return figures


def labelling_seconds(examples: Examples, cost: CostSettings) -> float:
    """Return the labelling work in N crops: every frame opened, every crop looked at, every object boxed."""
    frames = len(np.unique(np.char.add(np.char.add(examples.drives, "/"), examples.frames)))
    boxes = int((examples.classes != len(CLASSES) - 1).sum())
    return cost.seconds_per_frame * frames + cost.seconds_per_crop * len(examples) + cost.seconds_per_box * boxes


def class_counts(classes: NDArray[np.int64]) -> dict[str, int]:
    """Return how many of each class are among labels (N,)."""
    counts = np.bincount(classes, minlength=len(CLASSES)).tolist()
    return dict(zip(CLASSES, counts, strict=True))
