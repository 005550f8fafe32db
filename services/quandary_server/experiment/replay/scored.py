"""The pool as the query sees it, scored by the code that serves."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from quandary.labels import CLASSES
from quandary_server.detector.examples import Examples
from quandary_server.experiment.methods import Method
from quandary_server.experiment.pools.crops import Crops
from quandary_server.experiment.settings import CostSettings
from quandary_server.inference.generation import LoadedGeneration
from quandary_server.selection.candidates import Candidates, Taken
from quandary_server.selection.objects import Objects
from quandary_server.uncertainty.acquisition import acquire
from quandary_server.uncertainty.summary import summarise

CHUNK = 1024


@dataclass(frozen=True)
class Scored:
    """N crops as a generation sees them: scores (N,), class probabilities (N, C), embeddings (N, E)."""

    scores: NDArray[np.float64]
    class_shares: NDArray[np.float64]
    embeddings: NDArray[np.float32]


def scored(generation: LoadedGeneration, examples: Examples, method: Method, mc_samples: int) -> Scored:
    """Return N >= 1 crops scored; of a method without an acquisition function all scores are 0."""
    parts = [
        _scored(generation, examples.take(np.arange(start, min(start + CHUNK, len(examples)))), method, mc_samples)
        for start in range(0, len(examples), CHUNK)
    ]
    return Scored(
        np.concatenate([part.scores for part in parts]),
        np.concatenate([part.class_shares for part in parts]),
        np.concatenate([part.embeddings for part in parts]),
    )


def _scored(generation: LoadedGeneration, examples: Examples, method: Method, mc_samples: int) -> Scored:
    draws = generation.draw(examples.rasters, method.estimator, mc_samples, generation.seed(None))
    summary = summarise(draws.samples)
    if method.acquisition is None:
        scores = np.zeros(len(examples))
    else:
        scores = acquire(method.acquisition, summary, np.array(generation.manifest.box_scales))
    return Scored(scores, summary.mean_probs, draws.embedding)


def candidates(crops: Crops, units: NDArray[np.intp], found: Scored, cost: CostSettings) -> Candidates:
    """Return the units that N crops belong to, units (N,) from 0 on, as candidates.

    A frame's score is the mean of its crops' (the reduction that is served), its embedding their unit-normed mean. The work
    is what is expected of it before anyone looked: boxes are counted by the probability of an object.
    """
    count = int(units.max()) + 1
    sizes = np.bincount(units, minlength=count)
    first = np.full(count, -1)
    first[units[::-1]] = np.arange(len(units))[::-1]
    shares = np.zeros((count, len(CLASSES)))
    np.add.at(shares, units, found.class_shares)
    embeddings = np.zeros((count, found.embeddings.shape[1]))
    np.add.at(embeddings, units, found.embeddings)
    length = np.linalg.norm(embeddings, axis=1, keepdims=True)
    boxes = shares[:, :-1].sum(axis=1)
    by_unit = np.argsort(units, kind="stable")
    return Candidates(
        ids=np.array([f"{unit:08d}" for unit in range(count)]),
        drives=crops.examples.drives[first],
        stamps_s=crops.stamps_s[first],
        scores=np.bincount(units, found.scores, count) / sizes,
        embeddings=(embeddings / np.maximum(length, 1e-12)).astype(np.float32),
        class_shares=shares,
        seconds=cost.seconds_per_frame + cost.seconds_per_crop * sizes + cost.seconds_per_box * boxes,
        objects=Objects(units[by_unit], found.scores[by_unit], found.embeddings[by_unit]),
    )


def taken(crops: Crops, embeddings: NDArray[np.float32]) -> Taken:
    """Return what is labelled already, M crops with their embeddings (M, E)."""
    length = np.linalg.norm(embeddings, axis=1, keepdims=True)
    return Taken(crops.examples.drives, crops.stamps_s, (embeddings / np.maximum(length, 1e-12)).astype(np.float32))
