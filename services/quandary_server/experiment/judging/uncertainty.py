"""How right the uncertainty of one generation is, by estimator and kind of error."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quandary.options import Acquisition, Estimator
from quandary_server.detector.assessment import BACKGROUND_INDEX
from quandary_server.detector.examples import Examples, true_boxes
from quandary_server.evaluation.boxes import centre_errors, ious, parameter_errors, size_errors
from quandary_server.experiment.pools.crops import Pool
from quandary_server.frustum.anchor import BOX_PARAMETERS, decode_boxes
from quandary_server.inference.generation import LoadedGeneration
from quandary_server.uncertainty.acquisition import acquire
from quandary_server.uncertainty.calibration import (
    brier_scores,
    fit_temperature,
    negative_log_likelihoods,
    reliability,
)
from quandary_server.uncertainty.coverage import fit_variance_scales, gaussian_nll, interval_coverage, total_variance
from quandary_server.uncertainty.entropy import entropy, margin
from quandary_server.uncertainty.samples import Samples, log_probabilities
from quandary_server.uncertainty.sparsification import sparsify
from quandary_server.uncertainty.summary import Summary, summarise

Array = NDArray[np.float64]

ESTIMATORS = (Estimator.SOFTMAX, Estimator.MC_DROPOUT, Estimator.DEEP_ENSEMBLE, Estimator.ENSEMBLE_MC_DROPOUT)
LEVELS = (0.5, 0.8, 0.9, 0.95)
MIN_ERRORS, MIN_CROPS = 20, 100
CENTRE, SIZE = slice(0, 3), slice(3, 6)
CURVE_STEP = 2
"""Every second of a curve's hundred points is kept."""


def judged_uncertainty(
    generation: LoadedGeneration, pool: Pool, mc_samples: int, estimators: Sequence[Estimator] = ESTIMATORS
) -> dict[str, Any]:
    """Return the judgements by estimator: calibration before and after a temperature, sparsification, coverage.

    Temperature and variance scales are fitted on the control drives, everything is judged on the evaluation drives. Without
    control crops nothing is fitted.
    """
    return {estimator.value: _judged(generation, pool, estimator, mc_samples) for estimator in estimators}


def _judged(generation: LoadedGeneration, pool: Pool, estimator: Estimator, mc_samples: int) -> dict[str, Any]:
    judged = _Answers(generation, pool.evaluation.examples, estimator, mc_samples)
    temperature, scales = 1.0, np.ones(len(BOX_PARAMETERS))
    if len(pool.control):
        control = _Answers(generation, pool.control.examples, estimator, mc_samples)
        temperature = fit_temperature(control.logits, control.classes)
        scales = fit_variance_scales(control.parameter_errors, control.variances)
    tempered = judged.at(temperature)
    return {
        "crops": len(judged.classes),
        "objects": int(judged.objects.sum()),
        "temperature": temperature,
        "raw": _calibration(judged.summary.mean_probs, judged.classes),
        "calibrated": _calibration(tempered.mean_probs, judged.classes),
        "sparsification": _sparsifications(judged),
        "coverage": _coverage(judged.parameter_errors, judged.variances, scales),
    }


class _Answers:
    """What a generation answers to labelled crops, and how wrong it is: errors are (N,) of crops or (O,) of objects."""

    def __init__(self, generation: LoadedGeneration, examples: Examples, estimator: Estimator, mc_samples: int) -> None:
        drawn = generation.draw(examples.rasters, estimator, mc_samples, generation.seed(None)).samples
        self._box_scales = np.array(generation.manifest.box_scales)
        self._samples = drawn
        self.classes = examples.classes
        self.objects = examples.classes != BACKGROUND_INDEX
        self.logits = log_probabilities(drawn.probs)
        self.summary = summarise(drawn)
        labelled = examples.take(self.objects)
        mean = self.summary.box[self.objects]
        self._truth, self._boxes = true_boxes(labelled), decode_boxes(mean, labelled.anchors)
        self.parameter_errors = parameter_errors(labelled.boxes.astype(np.float64), mean)
        self.aleatoric = self.summary.aleatoric[self.objects]
        self.epistemic = self.summary.epistemic[self.objects]
        self.variances = total_variance(self.aleatoric, self.epistemic)

    def at(self, temperature: float) -> Summary:
        """Return the summary with the logits divided by a temperature."""
        scaled = self.logits / temperature
        probs = np.exp(scaled - scaled.max(axis=-1, keepdims=True))
        return summarise(Samples(probs / probs.sum(axis=-1, keepdims=True), self._samples.box, self._samples.box_log_variance))

    @property
    def errors(self) -> dict[str, Array]:
        """Errors by kind."""
        return {
            "class": np.asarray(self.summary.mean_probs.argmax(axis=1) != self.classes, np.float64),
            "centre": centre_errors(self._truth, self._boxes),
            "size": size_errors(self._truth, self._boxes),
            "overlap": 1.0 - ious(self._truth, self._boxes),
        }

    def score(self, acquisition: Acquisition) -> Array:
        """Return the scores (N,) of an acquisition function."""
        return acquire(acquisition, self.summary, self._box_scales)

    @property
    def sampled(self) -> bool:
        """Whether there is more than one sample."""
        return self._samples.count > 1


def _calibration(probs: Array, classes: NDArray[np.int64]) -> dict[str, Any]:
    found = reliability(probs, classes)
    return {
        "ece": float(np.sum(found.counts * np.abs(found.accuracy - found.confidence)) / found.counts.sum()),
        "nll": float(negative_log_likelihoods(probs, classes).mean()),
        "brier": float(brier_scores(probs, classes).mean()),
        "accuracy": float((probs.argmax(axis=1) == classes).mean()),
        "reliability": {
            "confidence": found.confidence.tolist(),
            "accuracy": found.accuracy.tolist(),
            "counts": found.counts.tolist(),
        },
    }


def uncertainties(judged: _Answers) -> dict[str, dict[str, Array]]:
    """Return what may rank each kind of error, by name; the first of each is the matching one."""
    mean = judged.summary.mean_probs
    total = judged.variances
    of_class: dict[str, Array] = {"predictive_entropy": entropy(mean), "margin": 1.0 - margin(mean)}
    of_box: dict[str, dict[str, Array]] = {
        "centre": {"total": total[:, CENTRE].sum(axis=1), "aleatoric": judged.aleatoric[:, CENTRE].sum(axis=1)},
        "size": {"total": total[:, SIZE].sum(axis=1), "aleatoric": judged.aleatoric[:, SIZE].sum(axis=1)},
        "overlap": {"total": np.log(total).sum(axis=1), "aleatoric": np.log(judged.aleatoric).sum(axis=1)},
    }
    if judged.sampled:
        of_class |= {
            "expected_entropy": judged.summary.expected_entropy,
            "mutual_information": judged.score(Acquisition.MUTUAL_INFORMATION),
            "default": judged.score(Acquisition.INFORMATION_AND_BOX),
        }
        default = judged.score(Acquisition.INFORMATION_AND_BOX)[judged.objects]
        parts = {"centre": CENTRE, "size": SIZE, "overlap": slice(None)}
        for kind, part in parts.items():
            of_box[kind] |= {"epistemic": judged.epistemic[:, part].sum(axis=1), "default": default}
    return {"class": of_class, **of_box}


def _sparsifications(judged: _Answers) -> dict[str, Any]:
    """Return the sparsification by kind of error and uncertainty; kinds with too few errors are None: undetermined."""
    found: dict[str, Any] = {}
    ranked = uncertainties(judged)
    for kind, errors in judged.errors.items():
        if (errors > 0).sum() < MIN_ERRORS or len(errors) < MIN_CROPS:
            found[kind] = None
            continue
        found[kind] = {name: _sparsification(errors, values) for name, values in ranked[kind].items()}
    return found


def _sparsification(errors: Array, values: Array) -> dict[str, Any]:
    curve = sparsify(errors, values)
    return {
        "ause": curve.ause,
        "aurg": curve.aurg,
        "gain": curve.gain,
        "ause_random": curve.ause_random,
        "fraction": curve.fraction[::CURVE_STEP].tolist(),
        "curve": curve.curve[::CURVE_STEP].round(4).tolist(),
        "oracle": curve.oracle[::CURVE_STEP].round(4).tolist(),
    }


def _coverage(errors: Array, variances: Array, scales: Array) -> dict[str, Any]:
    """Return the share of errors inside central intervals by parameter, with the variances as predicted and scaled."""

    def shares(of: Array) -> dict[str, list[float]]:
        return {f"{level:g}": interval_coverage(errors, of, level).tolist() for level in LEVELS}

    return {
        "parameters": list(BOX_PARAMETERS),
        "scales": scales.tolist(),
        "raw": shares(variances),
        "scaled": shares(variances * scales),
        "nll": gaussian_nll(errors, variances).mean(axis=0).tolist(),
        "nll_scaled": gaussian_nll(errors, variances * scales).mean(axis=0).tolist(),
    }
