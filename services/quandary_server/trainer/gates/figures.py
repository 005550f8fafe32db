"""The figures that a candidate is judged by on control crops, and the floor of each."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from quandary.labels import CLASSES
from quandary_server.detector.assessment import Assessment
from quandary_server.evaluation.classes import frequent_classes, macro_recall
from quandary_server.evaluation.savings import Better
from quandary_server.settings.gates import GateSettings
from quandary_server.uncertainty.calibration import expected_calibration_error
from quandary_server.uncertainty.entropy import entropy
from quandary_server.uncertainty.sparsification import sparsify

Array = NDArray[np.float64]
Indices = NDArray[np.intp]
Ranked = Callable[[Assessment], tuple[Array, Array]]

MIN_OF_CLASS = 10
"""Classes with fewer control crops do not enter the macro recall: one object would decide it."""


@dataclass(frozen=True)
class Figure:
    """A figure of an assessment, computed from any of its crops.

    over: which crops (N,) it is over, in words `counted`. value: of crops (indices), None where these tell nothing. floor: its
    bound by the settings; bound: what that is, in words. errors: of the crops (N,), for a figure that ranks errors.
    """

    gate: str
    title: str
    unit: str
    better: Better
    over: Callable[[Assessment], NDArray[np.bool_]]
    counted: str
    value: Callable[[Assessment, Indices], float | None]
    floor: Callable[[Assessment, Indices, GateSettings], float | None]
    bound: str
    errors: Callable[[Assessment], Array] | None = None


def frequency_entropy(classes: NDArray[np.int64]) -> float:
    """Return the NLL in nats of classes (N,) for who knows how frequent each is and no more: the entropy of the shares."""
    shares = np.bincount(classes) / max(len(classes), 1)
    return max(float(entropy(shares)), 0.0)


def _all(found: Assessment) -> NDArray[np.bool_]:
    return np.ones(len(found.classes), np.bool_)


def _objects(found: Assessment) -> NDArray[np.bool_]:
    return found.objects


def _judged(found: Assessment) -> NDArray[np.bool_]:
    """Return which crops are of classes with enough crops to judge, where there are two such classes."""
    judged = frequent_classes(found.classes, len(CLASSES), MIN_OF_CLASS)
    return np.isin(found.classes, judged) if len(judged) > 1 else np.zeros(len(found.classes), np.bool_)


def _recall(found: Assessment, which: Indices) -> float:
    return macro_recall(found.classes[which], found.predicted[which], range(len(CLASSES)))


def _recall_floor(found: Assessment, which: Indices, settings: GateSettings) -> float:
    chance = 1 / max(len(np.unique(found.classes[which])), 1)
    return chance + settings.recall_floor * (1 - chance)


def _nll_floor(found: Assessment, which: Indices, settings: GateSettings) -> float:
    return min(settings.nll_floor, settings.nll_over_frequencies * frequency_entropy(found.classes[which]))


def _class_ranked(found: Assessment) -> tuple[Array, Array]:
    return found.wrong, found.scores.predictive_entropy


def _centre_ranked(found: Assessment) -> tuple[Array, Array]:
    return found.centre_error, found.centre_variance


def _ause(gate: str, title: str, over: Callable[[Assessment], NDArray[np.bool_]], counted: str, ranked: Ranked) -> Figure:
    def value(found: Assessment, which: Indices) -> float | None:
        errors, uncertainties = ranked(found)
        return sparsify(errors[which], uncertainties[which]).ause if errors[which].any() else None

    def floor(found: Assessment, which: Indices, settings: GateSettings) -> float | None:
        errors, uncertainties = ranked(found)
        if not errors[which].any():
            return None
        return settings.ause_over_random * sparsify(errors[which], uncertainties[which]).ause_random

    return Figure(
        gate=gate,
        title=title,
        unit="",
        better=Better.LOWER,
        over=over,
        counted=counted,
        value=value,
        floor=floor,
        bound="that of a ranking by chance",
        errors=lambda found: ranked(found)[0],
    )


FIGURES: Sequence[Figure] = (
    Figure(
        gate="macro_recall",
        title="macro recall",
        unit="",
        better=Better.HIGHER,
        over=_judged,
        counted=f"crops of classes with {MIN_OF_CLASS} crops or more",
        value=_recall,
        floor=_recall_floor,
        bound="what is plainly more than guessing",
    ),
    Figure(
        gate="nll",
        title="NLL",
        unit=" nats",
        better=Better.LOWER,
        over=_all,
        counted="crops",
        value=lambda found, which: float(found.nll[which].mean()),
        floor=_nll_floor,
        bound="less than who knows only how frequent the classes are",
    ),
    Figure(
        gate="ece",
        title="ECE",
        unit="",
        better=Better.LOWER,
        over=_all,
        counted="crops",
        value=lambda found, which: expected_calibration_error(found.probs[which], found.classes[which]),
        floor=lambda _, __, settings: settings.ece_floor,
        bound="as is set",
    ),
    Figure(
        gate="centre_error",
        title="mean error of the centre",
        unit=" m",
        better=Better.LOWER,
        over=_objects,
        counted="objects",
        value=lambda found, which: float(found.centre_error[which].mean()),
        floor=lambda _, __, settings: settings.centre_floor_m,
        bound="as is set",
    ),
    _ause("ause_class", "AUSE of the class", _all, "crops", _class_ranked),
    _ause("ause_centre", "AUSE of the centre", _objects, "objects", _centre_ranked),
)
