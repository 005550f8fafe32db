"""How a generation does on labelled crops."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from quandary.labels import BACKGROUND, CLASSES
from quandary.options import ScoringOptions
from quandary_server.detector.examples import Examples, true_boxes
from quandary_server.evaluation.boxes import centre_errors, depth_errors, ious, size_errors
from quandary_server.evaluation.classes import macro_recall
from quandary_server.inference.generation import LoadedGeneration
from quandary_server.inference.object_scores import ObjectScores
from quandary_server.inference.scores import score_many
from quandary_server.uncertainty.calibration import expected_calibration_error, negative_log_likelihoods

Array = NDArray[np.float64]

BACKGROUND_INDEX = CLASSES.index(BACKGROUND)

CENTRE = slice(0, 3)
"""Of the box's parameters."""


@dataclass(frozen=True)
class Assessment:
    """Answers on N labelled crops beside their truth.

    classes, predicted (N,); probs (N, C); nll (N,) in nats; scores: all that was scored. objects (N,): which are no
    Background. centre_error, size_error in metres and iou (N,), NaN for Background.
    """

    classes: NDArray[np.int64]
    probs: Array
    nll: Array
    objects: NDArray[np.bool_]
    centre_error: Array
    depth_error: Array
    size_error: Array
    iou: Array
    scores: ObjectScores

    @cached_property
    def predicted(self) -> NDArray[np.int64]:
        """Indices of the likeliest classes (N,)."""
        return np.asarray(self.probs.argmax(axis=1), np.int64)

    @cached_property
    def wrong(self) -> Array:
        """1 where the class is wrong, else 0, (N,)."""
        return np.asarray(self.predicted != self.classes, np.float64)

    @cached_property
    def centre_variance(self) -> Array:
        """The total variance of the centre (N,) in square metres, the sum over its three axes."""
        return np.asarray((self.scores.aleatoric + self.scores.epistemic)[:, CENTRE].sum(axis=1))

    def figures(self) -> dict[str, float]:
        """Return the figures by name: macro_recall over the classes that occur, accuracy, nll, ece, and the boxes' errors."""
        found = {
            "macro_recall": macro_recall(self.classes, self.predicted, range(len(CLASSES))),
            "accuracy": float(1 - self.wrong.mean()),
            "nll": float(self.nll.mean()),
            "ece": expected_calibration_error(self.probs, self.classes),
            "crops": float(len(self.classes)),
            "objects": float(self.objects.sum()),
        }
        if self.objects.any():
            for name in ("centre_error", "depth_error", "size_error", "iou"):
                found[f"mean_{name}"] = float(getattr(self, name)[self.objects].mean())
        return found


def assess(generation: LoadedGeneration, examples: Examples, options: ScoringOptions) -> Assessment:
    """Return how a generation answers N >= 1 labelled crops, soundly all of them (`ObjectScores.usable`)."""
    return assessed(score_many(generation, examples.rasters, options), examples)


def assessed(scores: ObjectScores, examples: Examples) -> Assessment:
    """Return how these answers, all sound, do on the N labelled crops that they are of."""
    objects = examples.classes != BACKGROUND_INDEX
    errors = {name: np.full(len(examples), np.nan) for name in ("centre", "depth", "size", "iou")}
    labelled = np.flatnonzero(objects)
    if len(labelled):
        truth = true_boxes(examples.take(labelled))
        boxes = scores.boxes()
        predicted = [boxes[i] for i in labelled]
        errors["centre"][labelled] = centre_errors(truth, predicted)
        errors["depth"][labelled] = depth_errors(truth, predicted, examples.bearing[labelled])
        errors["size"][labelled] = size_errors(truth, predicted)
        errors["iou"][labelled] = ious(truth, predicted)
    return Assessment(
        examples.classes,
        scores.mean_probs,
        negative_log_likelihoods(scores.mean_probs, examples.classes),
        objects,
        errors["centre"],
        errors["depth"],
        errors["size"],
        errors["iou"],
        scores,
    )
