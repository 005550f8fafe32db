"""Out of distribution: does a score tell a class that training never saw from those it did?"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from quandary.errors import InvalidArgument
from quandary.labels import CLASSES
from quandary.options import Acquisition, Estimator
from quandary_server.evaluation.detection import auroc
from quandary_server.experiment.pools.crops import Pool
from quandary_server.experiment.replay.training import trained
from quandary_server.experiment.settings import ExperimentSettings
from quandary_server.uncertainty.acquisition import acquire
from quandary_server.uncertainty.summary import summarise

SCORES = (
    Acquisition.PREDICTIVE_ENTROPY,
    Acquisition.MUTUAL_INFORMATION,
    Acquisition.VARIATION_RATIO,
    Acquisition.MARGIN,
    Acquisition.BOX_EPISTEMIC,
    Acquisition.INFORMATION_AND_BOX,
)


FIT = 4
"""The fits' seeds are drawn from a stream of their own, beside the three of an arm."""


def check_held_out(classes: Sequence[str], pool: Pool) -> None:
    """Raise InvalidArgument for a class that the evaluation drives do not show, or that is all they show."""
    for i, name in enumerate(classes):
        strange = pool.evaluation.examples.classes == CLASSES.index(name)
        if strange.all() or not strange.any():
            value = f"{name}, {int(strange.sum())} of {len(strange)} crops of the evaluation drives"
            raise InvalidArgument.of(f"held_out.classes.{i}", value, "a class that some of them show, and others not")


def judged_held_out(settings: ExperimentSettings, pool: Pool, class_name: str, seed: int) -> dict[str, Any]:
    """Train on the pool without a class; return, by estimator and score, the AUROC of its evaluation crops against the others.

    0.5 is chance, 1 tells them all apart. Raises ValueError where the evaluation drives show none of the class.
    """
    held_out = CLASSES.index(class_name)
    known = pool.pool.examples.take(pool.pool.examples.classes != held_out)
    fit = int(np.random.default_rng([settings.seed, seed, FIT]).integers(2**31))
    generation = trained(settings, known, steps=settings.steps.steps(len(known)), members=settings.members, seed=fit)
    examples = pool.evaluation.examples
    strange = examples.classes == held_out
    scales = np.array(generation.manifest.box_scales)
    found: dict[str, dict[str, float]] = {}
    for estimator in (Estimator.SOFTMAX, Estimator.MC_DROPOUT, Estimator.DEEP_ENSEMBLE, Estimator.ENSEMBLE_MC_DROPOUT):
        summary = summarise(generation.draw(examples.rasters, estimator, settings.mc_samples, generation.seed(None)).samples)
        found[estimator.value] = {
            score.value: auroc(values[strange], values[~strange])
            for score in SCORES
            if summary.samples > 1 or not score.needs_samples
            for values in (acquire(score, summary, scales),)
        }
    return {"class": class_name, "seed": seed, "crops": int(strange.sum()), "auroc": found}
