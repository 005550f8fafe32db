"""Assessments made by hand: how a generation would have done on labelled crops."""

import numpy as np

from quandary.labels import CLASSES
from quandary_server.detector.assessment import BACKGROUND_INDEX, Assessment
from quandary_server.frustum.anchor import Anchors
from quandary_server.inference.object_scores import ObjectScores
from quandary_server.uncertainty.calibration import negative_log_likelihoods
from quandary_server.uncertainty.entropy import entropy

Array = np.ndarray


def probabilities(predicted: Array, confidence: Array) -> Array:
    """Return distributions (N, C) that say the predicted class with this confidence (N,), and the others alike."""
    probs = np.repeat((1 - confidence)[:, None] / (len(CLASSES) - 1), len(CLASSES), axis=1)
    probs[np.arange(len(predicted)), predicted] = confidence
    return probs


def assessment(classes: Array, probs: Array, centre_error: Array | None = None, variance: Array | None = None) -> Assessment:
    """Return the assessment of answers probs (N, C) to classes (N,).

    centre_error: metres (N,), by default 1; variance: of the centre along each axis (N,), by default the square of the error.
    """
    count = len(classes)
    objects = classes != BACKGROUND_INDEX
    error = np.ones(count) if centre_error is None else centre_error
    told = error**2 if variance is None else variance
    nothing = np.zeros(count)
    scores = ObjectScores(
        score=nothing,
        score_without=None,
        mean_probs=probs,
        predictive_entropy=entropy(probs),
        expected_entropy=nothing,
        variation_ratio=nothing,
        margin=nothing,
        box=np.zeros((count, 10)),
        aleatoric=np.repeat(told[:, None], 7, axis=1) / 2,
        epistemic=np.repeat(told[:, None], 7, axis=1) / 2,
        embedding=np.zeros((count, 1), np.float32),
        points=np.zeros(count, np.int64),
        anchors=Anchors(np.zeros((count, 3)), nothing),
        usable=np.ones(count, np.bool_),
        samples=np.ones(count, np.int64),
    )
    of_objects = np.where(objects, error, np.nan)
    nll = negative_log_likelihoods(probs, classes)
    return Assessment(classes, probs, nll, objects, of_objects, of_objects, of_objects, of_objects, scores)
