"""What an estimator draws, and what is kept of it."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from quandary_server.frustum.anchor import AXIS, HEADING
from quandary_server.uncertainty.entropy import entropy

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Samples:
    """T draws for D detections.

    probs (T, D, C); box (T, D, 10) regressed values, as `frustum.anchor` has them; box_log_variance (T, D, 7).
    """

    probs: Array
    box: Array
    box_log_variance: Array

    @property
    def count(self) -> int:
        """T."""
        return len(self.probs)


@dataclass(frozen=True)
class Summary:
    """All that the acquisition functions need of T draws; the leading axes `...` are none, or one per left-out draw.

    mean_probs (..., D, C); expected_entropy (..., D) in nats; votes (..., D, C), the share of draws that argue for each class;
    epistemic (..., D, 7), variance of the box means over the draws; aleatoric (..., D, 7), mean predicted variance; samples:
    draws behind each.
    """

    mean_probs: Array
    expected_entropy: Array
    votes: Array
    epistemic: Array
    aleatoric: Array
    samples: int


def softmax(logits: NDArray[np.float32], temperature: float = 1.0) -> Array:
    """Return class probabilities (T, D, C) of logits (T, D, C), divided by the temperature.

    The class axis is outermost in memory: reductions over it are three times faster, and round alike for every D >= 2.
    """
    first = np.moveaxis(logits, -1, 0).astype(np.float64, order="C") / temperature
    first -= first.max(axis=0)
    np.exp(first, out=first)
    first /= first.sum(axis=0)
    return np.moveaxis(first, 0, -1)


def summarise(samples: Samples) -> Summary:
    """Return the summary of all draws (no leading axis)."""
    votes = _votes(samples.probs)
    return Summary(
        mean_probs=samples.probs.mean(axis=0),
        expected_entropy=entropy(samples.probs).mean(axis=0),
        votes=votes.mean(axis=0),
        epistemic=epistemic_variance(samples.box),
        aleatoric=aleatoric_variance(samples.box_log_variance),
        samples=samples.count,
    )


def leave_one_out(samples: Samples) -> Summary:
    """Return T summaries, each of the T - 1 draws without one, along a leading axis T; needs T >= 3."""
    entropies, votes = entropy(samples.probs), _votes(samples.probs)
    return Summary(
        mean_probs=_mean_without(samples.probs),
        expected_entropy=_mean_without(entropies),
        votes=_mean_without(votes),
        epistemic=_epistemic_without(samples.box),
        aleatoric=_mean_without(np.exp(samples.box_log_variance)),
        samples=samples.count - 1,
    )


def mean_box(box: Array) -> Array:
    """Return the mean (D, 10) of regressed boxes (T, D, 10); of axis and heading the mean of unit vectors (circular mean)."""
    mean: Array = box.mean(axis=0)
    for angle in (AXIS, HEADING):
        mean[:, angle] = unit_vectors(box[..., angle]).mean(axis=0)
    return mean


def unit_vectors(vectors: Array) -> Array:
    """Return vectors (..., 2) scaled to length one."""
    length = np.hypot(vectors[..., 0], vectors[..., 1])
    return np.asarray(vectors / np.maximum(length, 1e-12)[..., None])


def aleatoric_variance(box_log_variance: Array) -> Array:
    """Return the mean predicted variance (D, 7) of log-variances (T, D, 7)."""
    return np.asarray(np.exp(box_log_variance).mean(axis=0))


def epistemic_variance(box: Array) -> Array:
    """Return the variance over draws (D, 7) of regressed boxes (T, D, 10); of yaw that of the axis, (1 - R) / 2.

    R is the length of the mean of unit vectors at twice the yaw, so front and back are the same. For a small spread it is the
    variance in square radians (Mardia and Jupp, Directional Statistics, 2.3 and 9.4).
    """
    plain = box[..., :6].var(axis=0)
    resultant = _length(unit_vectors(box[..., AXIS]).mean(axis=0))
    return np.concatenate([plain, (1 - resultant)[..., None] / 2], axis=-1)


def _epistemic_without(box: Array) -> Array:
    plain = box[..., :6]
    mean = _mean_without(plain)
    squares = _mean_without(plain**2)
    resultant = _length(_mean_without(unit_vectors(box[..., AXIS])))
    return np.concatenate([np.maximum(squares - mean**2, 0), (1 - resultant)[..., None] / 2], axis=-1)


def _length(vectors: Array) -> Array:
    return np.minimum(np.hypot(vectors[..., 0], vectors[..., 1]), 1.0)


def _votes(probs: Array) -> Array:
    votes = np.zeros(probs.shape)
    np.put_along_axis(votes, probs.argmax(axis=-1)[..., None], 1.0, axis=-1)
    return votes


def _mean_without(values: Array) -> Array:
    count = len(values)
    return np.asarray((values.sum(axis=0) - values) / (count - 1))
