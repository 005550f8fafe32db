"""How many labels a method saves against random sampling at the same performance.

Learning curves are noisy, so a crossing is that of the running best, linear between two rounds. The target is a number that the
caller takes from the full pool's mean (`target_value`); it is not resampled.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from quandary_server.evaluation.bootstrap import expanded_interval

Array = NDArray[np.float64]


class Better(StrEnum):
    """Which way a performance improves: recalls and overlaps HIGHER, errors LOWER."""

    HIGHER = "higher"
    LOWER = "lower"


@dataclass(frozen=True)
class Curve:
    """What one seed of one method reached: labels used (R,) and values (R,), one per round.

    Raises ValueError for labels that do not increase from at least 1, and for values that are not finite.
    """

    labels: NDArray[np.integer]
    values: Array

    def __post_init__(self) -> None:
        """Refuse what is no curve."""
        if self.labels.ndim != 1 or len(self.labels) == 0 or self.labels.shape != self.values.shape:
            raise ValueError(f"labels {self.labels.shape} and values {self.values.shape} must be (R,), with R at least 1")
        if self.labels[0] < 1 or (np.diff(self.labels) <= 0).any():
            raise ValueError(f"labels must increase from at least 1, got {self.labels.tolist()}")
        if not np.isfinite(self.values).all():
            raise ValueError(f"values must be finite, got {self.values.tolist()}")


@dataclass(frozen=True)
class Saving:
    """Share of the labels that a method saves at a target, 1 - N_method / N_random: at most 1, negative where it costs labels.

    low and high bound the interval, None where one seed does not determine it. An arm that does not reach the target has
    its largest budget as its labels and says so: without the method the value is 0, without random it is a lower bound.
    at_most: the interval's upper end if every draw in which the method does not reach the target took it one label more than
    its last budget, in place of counting as nothing saved. None where that tells nothing: on one seed, and where the method
    was stopped before it had as many labels as random needed.
    """

    value: float
    low: float | None
    high: float | None
    at_most: float | None
    method_labels: float
    random_labels: float
    method_reached: bool
    random_reached: bool
    seeds: int


def monotone(values: Array, better: Better) -> Array:
    """Return the best so far (..., R) of values (..., R) along the rounds."""
    best = np.maximum if better is Better.HIGHER else np.minimum
    return np.asarray(best.accumulate(values, axis=-1))


def target_value(full_pool: float, share: float, better: Better) -> float:
    """Return the target at a share of the full pool's performance: full_pool * share, or for errors full_pool / share.

    Raises ValueError for a share outside of (0, 1], and for a performance that is negative or not finite.
    """
    if not 0 < share <= 1:
        raise ValueError(f"the share must be in (0, 1], got {share}")
    if not 0 <= full_pool < np.inf:
        raise ValueError(f"the full pool's performance must be finite and at least 0, got {full_pool}")
    return full_pool * share if better is Better.HIGHER else full_pool / share


def labels_at(curve: Curve, target: float, better: Better) -> float | None:
    """Return the labels at which the curve's running best first reaches the target, None if it never does.

    Linear between the two rounds around the crossing; a curve that starts at the target or beyond needs its first labels.
    """
    labels, reached = _crossings(curve.labels.astype(np.float64), curve.values[None], target, better)
    return float(labels[0]) if reached[0] else None


def labels_saved(
    method: Sequence[Curve],
    random: Sequence[Curve],
    target: float,
    better: Better,
    rng: np.random.Generator,
    draws: int = 2000,
    level: float = 0.95,
) -> Saving:
    """Return the labels that a method saves at the target: of the mean curves over S seeds, with an interval over seeds.

    method[i] and random[i] share a seed. The interval is the expanded percentile interval of a paired bootstrap: each draw
    takes the same seeds for both arms and recomputes both mean curves and both crossings. A draw in which the method does not
    reach the target counts as 0 saved; in which random does not, random as its largest budget. Curves of an arm have equally
    many rounds; where their labels differ (a frame's crops are indivisible) they are interpolated at the mean labels of each
    round, within what all of them cover.

    Raises ValueError for no seeds, unequal numbers of them or of rounds, curves too far apart, a target that is not finite, no
    draws, and a level outside of (0, 1).
    """
    if len(method) == 0 or len(method) != len(random):
        raise ValueError(f"{len(method)} curves and {len(random)} random ones: must be equally many, at least one")
    if not np.isfinite(target):
        raise ValueError(f"the target must be finite, got {target}")
    if draws < 1 or not 0 < level < 1:
        raise ValueError(f"needs at least 1 draw and a level in (0, 1), got {draws} and {level}")
    seeds = len(method)
    method_arm, random_arm = _on_one_grid(method), _on_one_grid(random)

    whole = np.arange(seeds)[None]
    (value,), _, (method_labels,), (random_labels,), (method_reached,), (random_reached,) = _savings(
        method_arm, random_arm, whole, target, better
    )

    low = high = at_most = None
    if seeds > 1:
        drawn = rng.integers(0, seeds, size=(draws, seeds))
        saved, most, *_ = _savings(method_arm, random_arm, drawn, target, better)
        low, high = expanded_interval(saved, seeds, level)
        if method_reached or (random_reached and method_labels >= random_labels):
            at_most = expanded_interval(most, seeds, level)[1]

    return Saving(
        value=float(value),
        low=low,
        high=high,
        at_most=at_most,
        method_labels=float(method_labels),
        random_labels=float(random_labels),
        method_reached=bool(method_reached),
        random_reached=bool(random_reached),
        seeds=seeds,
    )


@dataclass(frozen=True)
class _Arm:
    """The S curves of an arm at the same labels: labels (R,), values (S, R)."""

    labels: Array
    values: Array


def _on_one_grid(curves: Sequence[Curve]) -> _Arm:
    if len({len(curve.labels) for curve in curves}) > 1:
        raise ValueError(f"curves must have equally many rounds, got {[len(curve.labels) for curve in curves]}")
    # (S, R)
    labels = np.stack([curve.labels for curve in curves]).astype(np.float64)
    grid = np.clip(labels.mean(axis=0), labels[:, 0].max(), labels[:, -1].min())
    if (np.diff(grid) <= 0).any():
        raise ValueError(f"labels differ by more than a round: {labels.min(axis=0).tolist()} to {labels.max(axis=0).tolist()}")
    return _Arm(grid, np.stack([np.interp(grid, curve.labels, curve.values) for curve in curves]))


def _savings(
    method: _Arm, random: _Arm, drawn: NDArray[np.integer], target: float, better: Better
) -> tuple[Array, Array, Array, Array, NDArray[np.bool_], NDArray[np.bool_]]:
    """Return what is saved and what may be at most, each arm's labels and whether it reached (all (B,)), of the mean curves of
    drawn seeds (B, S)."""
    method_labels, method_reached = _crossings(method.labels, method.values[drawn].mean(axis=1), target, better)
    random_labels, random_reached = _crossings(random.labels, random.values[drawn].mean(axis=1), target, better)
    saved = np.where(method_reached, 1.0 - method_labels / random_labels, 0.0)
    most = 1.0 - (method_labels + ~method_reached) / random_labels
    return saved, most, method_labels, random_labels, method_reached, random_reached


def _crossings(labels: Array, values: Array, target: float, better: Better) -> tuple[Array, NDArray[np.bool_]]:
    """Return where curves (B, R) over labels (R,) reach the target (else the last labels) and whether they do: both (B,)."""
    best = monotone(values, better)
    reach = best >= target if better is Better.HIGHER else best <= target
    reached = reach[:, -1]
    after = np.where(reached, reach.argmax(axis=1), len(labels) - 1)
    before = np.maximum(after - 1, 0)

    rows = np.arange(len(best))
    rise = best[rows, after] - best[rows, before]
    # a first round at the target has no rise, a curve below the target ends at its last labels
    inside = reached & (after > 0)
    share = np.divide(target - best[rows, before], rise, out=np.ones(len(best)), where=inside)
    return labels[before] + share * (labels[after] - labels[before]), reached
