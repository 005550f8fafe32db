"""What is kept of an estimator's draws: of all of them, and of all but each one."""

from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from quandary_server.frustum.anchor import AXIS, HEADING
from quandary_server.uncertainty.entropy import entropy
from quandary_server.uncertainty.samples import Samples, lengths, unit_vectors

Array = NDArray[np.float64]

PLAIN, TURNS = slice(0, AXIS.start), slice(AXIS.start, HEADING.stop)
"""The box parameters with a plain variance, and those of the yaw."""


class Statistics(Protocol):
    """All that the acquisition functions need of T draws; the leading axes `...` are none, or one per left-out draw.

    mean_probs (..., D, C); expected_entropy (..., D) in nats; votes (..., D, C), the share of draws that argue for each class;
    epistemic (..., D, 7), variance of the box means over the draws; aleatoric (..., D, 7), mean predicted variance; samples:
    draws behind each.
    """

    @property
    def samples(self) -> int: ...  # noqa: D102
    @property
    def mean_probs(self) -> Array: ...  # noqa: D102
    @property
    def expected_entropy(self) -> Array: ...  # noqa: D102
    @property
    def votes(self) -> Array: ...  # noqa: D102
    @property
    def epistemic(self) -> Array: ...  # noqa: D102
    @property
    def aleatoric(self) -> Array: ...  # noqa: D102


@dataclass(frozen=True, eq=False)
class Summary:
    """The statistics of all T draws (no leading axis), and what leaving one out needs.

    box (D, 10): mean of the regressed boxes, of axis and heading the mean of unit vectors (circular mean). entropies (T, D) in
    nats; voted (T, D, C): which class each draw argues for; squares (T, D, 6): squared distances of the plain parameters from
    their mean; turns (T, D, 2, 2): unit vectors of axis and heading; variances (T, D, 7), as predicted.
    """

    drawn: Samples
    mean_probs: Array
    expected_entropy: Array
    votes: Array
    epistemic: Array
    aleatoric: Array
    box: Array
    entropies: Array
    voted: NDArray[np.bool_]
    squares: Array
    turns: Array
    variances: Array

    @property
    def samples(self) -> int:
        """T."""
        return self.drawn.count


def summarise(drawn: Samples) -> Summary:
    """Return the summary of T >= 1 draws."""
    entropies, voted, turns = entropy(drawn.probs), _voted(drawn.probs), _turns(drawn.box)
    plain = drawn.box[..., PLAIN]
    mean = plain.mean(axis=0)
    squares = plain - mean
    squares *= squares
    variances = np.exp(drawn.box_log_variance)
    mean_turns = turns.mean(axis=0)
    return Summary(
        drawn=drawn,
        mean_probs=drawn.probs.mean(axis=0),
        expected_entropy=entropies.mean(axis=0),
        votes=voted.mean(axis=0),
        epistemic=_with_yaw(squares.mean(axis=0), mean_turns),
        aleatoric=variances.mean(axis=0),
        box=np.concatenate([mean, mean_turns.reshape(-1, 4)], axis=-1),
        entropies=entropies,
        voted=voted,
        squares=squares,
        turns=turns,
        variances=variances,
    )


@dataclass(frozen=True, eq=False)
class LeaveOneOut:
    """The statistics of T - 1 draws without each one in turn, along a leading axis T >= 3; by algebra from all of them."""

    whole: Summary

    @property
    def samples(self) -> int:
        """T - 1."""
        return self.whole.samples - 1

    @cached_property
    def mean_probs(self) -> Array:
        """Mean class distributions (T, D, C)."""
        return self._mean(self.whole.mean_probs, self.whole.drawn.probs)

    @property
    def expected_entropy(self) -> Array:
        """Mean entropies (T, D) in nats."""
        return self._mean(self.whole.expected_entropy, self.whole.entropies)

    @property
    def votes(self) -> Array:
        """Shares of the draws that argue for each class (T, D, C)."""
        return self._mean(self.whole.votes, self.whole.voted)

    @property
    def epistemic(self) -> Array:
        """Variances (T, D, 7): without a draw c off the mean of T, the sum of squares S becomes S - c^2 T / (T - 1)."""
        whole, left = self.whole, self.samples
        plain = whole.squares * (-whole.samples / left**2)
        plain += whole.squares.sum(axis=0) / left
        # of equal draws rounding may leave less than nothing
        return _with_yaw(np.maximum(plain, 0.0, out=plain), self._mean_turns)

    @property
    def aleatoric(self) -> Array:
        """Mean predicted variances (T, D, 7)."""
        return self._mean(self.whole.aleatoric, self.whole.variances)

    @property
    def box(self) -> Array:
        """Means of the regressed boxes (T, D, 10), of axis and heading as in `Summary`."""
        plain = self._mean(self.whole.box[:, PLAIN], self.whole.drawn.box[..., PLAIN])
        turns = self._mean_turns
        return np.concatenate([plain, turns.reshape(*turns.shape[:2], 4)], axis=-1)

    @property
    def _mean_turns(self) -> Array:
        return self._mean(self.whole.turns.mean(axis=0), self.whole.turns)

    def _mean(self, mean: Array, values: Array | NDArray[np.bool_]) -> Array:
        """Return the means (T, ...) of all but each of the values (T, ...) with this mean (...)."""
        count = self.whole.samples
        left: Array = np.multiply(values, -1.0 / (count - 1))
        left += mean * (count / (count - 1))
        return left


def epistemic_variance(box: Array) -> Array:
    """Return the variance over draws (D, 7) of regressed boxes (T, D, 10); of yaw that of the axis, (1 - R) / 2.

    R is the length of the mean of unit vectors at twice the yaw, so front and back are the same. For a small spread it is the
    variance in square radians (Mardia and Jupp, Directional Statistics, 2.3 and 9.4).
    """
    return _with_yaw(box[..., PLAIN].var(axis=0), _turns(box).mean(axis=0))


def _voted(probs: Array) -> NDArray[np.bool_]:
    """Return which class has the largest probability (T, D, C)."""
    largest = probs == probs.max(axis=-1, keepdims=True)
    if np.count_nonzero(largest) != largest[..., 0].size:
        # of classes that are equally likely the first
        largest &= np.cumsum(largest, axis=-1) == 1
    return np.asarray(largest)


def _turns(box: Array) -> Array:
    """Return the unit vectors (T, D, 2, 2) of axis and heading."""
    return unit_vectors(box[..., TURNS].reshape(*box.shape[:2], 2, 2))


def _with_yaw(plain: Array, turns: Array) -> Array:
    """Return variances (..., 7) from those of the plain parameters (..., 6) and mean unit vectors (..., 2, 2)."""
    resultant = np.minimum(lengths(turns[..., 0, :]), 1.0)
    return np.concatenate([plain, ((1 - resultant) / 2)[..., None]], axis=-1)
