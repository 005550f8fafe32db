"""Scored objects."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quandary.geometry import Box3D
from quandary_server.frustum.anchor import Anchors, decode_boxes

Array = NDArray[np.float64]


@dataclass(frozen=True)
class ObjectScores:
    """D scored objects; `usable` (D,) marks those with a sound answer.

    score_without (N, D): the scores without each of N draws, of masks, members or jittered proposals; None for fewer than 3
    draws or if not asked for. score, predictive_entropy, expected_entropy, variation_ratio, margin: (D,); mean_probs (D, C);
    box (D, 10) regressed values; aleatoric, epistemic (D, 7); embedding (D, E); points, samples (D,); tightness, stability
    (D,), None where not computed. escalated (D,): which objects the full estimator answered, None for other estimators.
    """

    score: Array
    score_without: Array | None
    mean_probs: Array
    predictive_entropy: Array
    expected_entropy: Array
    variation_ratio: Array
    margin: Array
    box: Array
    aleatoric: Array
    epistemic: Array
    embedding: NDArray[np.float32]
    points: NDArray[np.int64]
    anchors: Anchors
    usable: NDArray[np.bool_]
    samples: NDArray[np.int64]
    tightness: Array | None = None
    stability: Array | None = None
    escalated: NDArray[np.bool_] | None = None

    def __len__(self) -> int:
        return len(self.points)

    @cached_property
    def mutual_information(self) -> Array:
        """Predictive less expected entropy (D,), in nats."""
        return np.maximum(self.predictive_entropy - self.expected_entropy, 0.0)

    @property
    def escalated_count(self) -> int:
        """How many objects escalated; 0 for other estimators than ESCALATE."""
        return 0 if self.escalated is None else int(self.escalated.sum())

    @cached_property
    def predicted(self) -> NDArray[np.intp]:
        """The most likely class (D,), of equally likely ones the first."""
        return np.asarray(self.mean_probs.argmax(axis=-1))

    def take(self, which: NDArray[np.intp] | slice) -> "ObjectScores":
        """Return those at indices or of a slice."""
        parts: dict[str, Any] = {}
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name == "score_without":
                parts[field.name] = None if value is None else value[:, which]
            elif field.name == "anchors":
                parts[field.name] = self.anchors.take(which)
            else:
                parts[field.name] = None if value is None else value[which]
        return ObjectScores(**parts)

    @staticmethod
    def joined(parts: "Sequence[ObjectScores]") -> "ObjectScores":
        """Return the objects of several parts (at least one), one after the other; what a part lacks, all must lack."""
        along: dict[str, Any] = {}
        for field in fields(ObjectScores):
            values = [getattr(part, field.name) for part in parts]
            if field.name == "anchors":
                along[field.name] = Anchors.joined(values)
            elif values[0] is None:
                along[field.name] = None
            else:
                along[field.name] = np.concatenate(values, axis=-1 if field.name == "score_without" else 0)
        return ObjectScores(**along)

    def boxes(self, part: slice = slice(None)) -> list[Box3D]:
        """Return the mean boxes of a part, which must be `usable`, in the LiDAR frame."""
        return decode_boxes(self.box[part], self.anchors.take(part))
