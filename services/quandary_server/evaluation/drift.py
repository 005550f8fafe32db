"""Has a distribution of scores moved away from what it was?"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

BINS = 10
PERMUTATIONS = 499


@dataclass(frozen=True)
class Drift:
    """How far live scores are from those of reference, and how often chance alone takes drives as far.

    psi: population stability index in nats. p_value: share of the random exchanges of whole drives that give as large a one.
    """

    psi: float
    p_value: float


def population_stability_index(reference: Array, live: Array) -> float:
    """Return the PSI of two samples (N,) and (M,), in nats, over ten bins that hold the reference in equal parts.

    PSI = sum of (q - p) ln(q / p), half a score added to each bin: 0 for equal shares, above 0.25 by convention a major shift
    (Siddiqi, Credit Risk Scorecards, 2006). Chance alone gives about 9 (1 / N + 1 / M) (Yurdakul 2018).
    Raises ValueError for an empty sample.
    """
    if not len(reference) or not len(live):
        raise ValueError(f"{len(reference)} and {len(live)} scores: at least one of each is needed")
    edges = np.unique(np.quantile(reference, np.linspace(0, 1, BINS + 1)[1:-1]))
    # a score that is an edge belongs to the bin below, on both sides alike
    shares = [_shares(np.searchsorted(edges, scores), len(edges) + 1) for scores in (reference, live)]
    p, q = shares
    return float(((q - p) * np.log(q / p)).sum())


def drift(
    reference: Array, reference_drives: Sequence[str], live: Array, live_drives: Sequence[str], rng: np.random.Generator
) -> Drift:
    """Return how far live scores (M,) are from those of reference (N,); drives: of each score.

    The scores of a drive resemble each other, so that few drives differ from few others without any drift: hence the test
    exchanges whole drives between both sides.
    """
    reference_parts, live_parts = _by_drive(reference, reference_drives), _by_drive(live, live_drives)
    found = population_stability_index(reference, live)
    parts, first = [*reference_parts, *live_parts], len(reference_parts)
    as_far = 0
    for _ in range(PERMUTATIONS):
        order = rng.permutation(len(parts))
        sides = [np.concatenate([parts[k] for k in which]) for which in (order[:first], order[first:])]
        as_far += population_stability_index(*sides) >= found
    return Drift(found, (1 + as_far) / (1 + PERMUTATIONS))


def _shares(bins: NDArray[np.intp], count: int) -> Array:
    counts = np.bincount(bins, minlength=count) + 0.5
    return np.asarray(counts / counts.sum())


def _by_drive(scores: Array, drives: Sequence[str]) -> list[Array]:
    names = np.array(drives)
    return [scores[names == name] for name in np.unique(names)]
