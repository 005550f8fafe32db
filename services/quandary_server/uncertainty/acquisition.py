"""Acquisition functions: which objects to ask labels for. Higher is asked for first."""

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from quandary.options import Acquisition
from quandary_server.uncertainty.entropy import entropy, margin
from quandary_server.uncertainty.localisation import BACKGROUND, Localisation
from quandary_server.uncertainty.summary import LeaveOneOut, Statistics, Summary

Array = NDArray[np.float64]

NOT_LOCALISED = Localisation()

BOX_WEIGHT = 3.0
"""How the box's information counts beside the class's: between the mean of its parameters (1) and their sum (7)."""


def acquire(
    acquisition: Acquisition, summary: Statistics, box_scales: Array, localisation: Localisation = NOT_LOCALISED
) -> Array:
    """Return the scores (..., D), finite and >= 0, of a summary.

    box_scales: (7,), the variance that counts as one for each box parameter. localisation: for TIGHTNESS and STABILITY.
    Raises ValueError where the function needs at least 2 samples and there is one, or a localisation that is not there.
    """
    if acquisition.needs_samples and summary.samples < 2:
        raise ValueError(f"{acquisition} needs at least 2 samples, there is {summary.samples}")
    if acquisition in LOCALISED:
        return LOCALISED[acquisition](summary, localisation)
    return ACQUISITIONS[acquisition](summary, box_scales)


def _predictive_entropy(summary: Statistics, _: Array) -> Array:
    """Maximum entropy sampling (Shewry and Wynn 1987), of the mean distribution as in Gal et al. 2017 (arXiv 1703.02910)."""
    return np.maximum(entropy(summary.mean_probs), 0.0)


def _mutual_information(summary: Statistics, _: Array) -> Array:
    """BALD (Houlsby et al. 2011, arXiv 1112.5745)."""
    return np.maximum(entropy(summary.mean_probs) - summary.expected_entropy, 0.0)


def _variation_ratio(summary: Statistics, _: Array) -> Array:
    """Freeman 1965, as in Gal et al. 2017 (arXiv 1703.02910): one less the share of the modal class."""
    return np.asarray(1.0 - summary.votes.max(axis=-1))


def _margin(summary: Statistics, _: Array) -> Array:
    """Margin sampling (Scheffer et al. 2001), turned: small margins score high."""
    return 1.0 - margin(summary.mean_probs)


def _box_epistemic(summary: Statistics, box_scales: Array) -> Array:
    """Epistemic box variance, each parameter over its scale, in logarithms and weighed by the probability of an object.

    Ours, not the paper's. Background has no box: nothing was ever learnt of one, so its draws scatter and mean nothing. The
    logarithm keeps a single parameter from deciding.
    """
    object_probability = 1.0 - summary.mean_probs[..., BACKGROUND]
    return np.asarray(object_probability * np.log1p(summary.epistemic / box_scales).mean(axis=-1))


def box_information(summary: Statistics) -> Array:
    """Return the mutual information (...,) in nats of box and weights, were an object there: a mean over 7 parameters.

    Of a normal distribution of aleatoric variance a whose means scatter by e it is 0.5 log(1 + e / a): BALD for regression
    (MacKay 1992, Information-Based Objective Functions for Active Data Selection, his gain of one measurement).
    Large where draws disagree about what a label would settle; small where far and hidden objects are blurred for good.
    """
    ratios = summary.epistemic / summary.aleatoric
    ratios += 1.0
    # one logarithm in place of seven; no box comes near overflow, its variances are within [3e-4, 3e5]
    return np.asarray(np.log(ratios.prod(axis=-1)) * (0.5 / ratios.shape[-1]))


def _information_and_box(summary: Statistics, box_scales: Array) -> Array:
    """The default. Ours, not the paper's: what a label would tell of class and box, the latter by an object's probability.

    The parts are BALD (Houlsby et al. 2011) and `box_information` (MacKay 1992).
    """
    object_probability = 1.0 - summary.mean_probs[..., BACKGROUND]
    return np.asarray(_mutual_information(summary, box_scales) + BOX_WEIGHT * object_probability * box_information(summary))


def _tightness(_: Statistics, localisation: Localisation) -> Array:
    """Localisation tightness (Kao et al. 2018, arXiv 1801.05124), turned: high where just one of class and box is sure."""
    if localisation.tightness is None:
        raise ValueError(f"{Acquisition.TIGHTNESS} needs the objects' views")
    return 1.0 - np.abs(localisation.tightness)


def _stability(summary: Statistics, localisation: Localisation) -> Array:
    """Localisation stability (Kao et al. 2018), turned, and weighed by the probability of an object: in [0, 1]."""
    if localisation.stability is None:
        raise ValueError(f"{Acquisition.STABILITY} needs jittered proposals")
    object_probability = 1.0 - summary.mean_probs[..., BACKGROUND]
    return np.asarray(object_probability * (1.0 - localisation.stability))


ACQUISITIONS: Mapping[Acquisition, Callable[[Statistics, Array], Array]] = {
    Acquisition.PREDICTIVE_ENTROPY: _predictive_entropy,
    Acquisition.MUTUAL_INFORMATION: _mutual_information,
    Acquisition.VARIATION_RATIO: _variation_ratio,
    Acquisition.MARGIN: _margin,
    Acquisition.BOX_EPISTEMIC: _box_epistemic,
    Acquisition.INFORMATION_AND_BOX: _information_and_box,
}


LOCALISED: Mapping[Acquisition, Callable[[Statistics, Localisation], Array]] = {
    Acquisition.TIGHTNESS: _tightness,
    Acquisition.STABILITY: _stability,
}


def scores_without(acquisition: Acquisition, summary: Summary, box_scales: Array) -> Array | None:
    """Return the scores without each sample (T, D), for the jackknife; None for fewer than 3 samples.

    It is over masks for MC-dropout, members for ensembles, both flattened for members x masks.
    """
    return acquire(acquisition, LeaveOneOut(summary), box_scales) if summary.samples >= 3 else None
