"""What a query sees of a frame: its objects, its embedding and the classes it is expected to hold, from its FrameScore."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from quandary.convert import tensor_values
from quandary.errors import InvalidArgument
from quandary.labels import CLASSES
from quandary.v1 import scoring_pb2
from quandary_server.selection.core_set import unit

Embedding = NDArray[np.float32]

SUM_TOLERANCE = 1e-3
"""Of class probabilities, which are float32."""


@dataclass(frozen=True, eq=False)
class ObjectViews:
    """D objects: scores (D,), embeddings (one each, None where unknown), class probabilities (D, C) of CLASSES, points (D,)."""

    scores: NDArray[np.float64]
    embeddings: tuple[Embedding | None, ...]
    class_shares: NDArray[np.float64]
    points: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.scores)


NO_OBJECTS = ObjectViews(np.empty(0), (), np.empty((0, len(CLASSES))), np.empty(0, np.int64))


@dataclass(frozen=True, eq=False)
class FrameView:
    """embedding (E,): the mean of its objects', each at length 1; None where none is known. class_shares (C,): of CLASSES."""

    embedding: Embedding | None
    class_shares: NDArray[np.float64]
    objects: ObjectViews = NO_OBJECTS

    def slim(self, *, classes: bool) -> "FrameView":
        """Return the view without its objects' embeddings, and without their classes and points unless those are asked for."""
        count = len(self.objects)
        slim = replace(self.objects, embeddings=(None,) * count)
        if not classes:
            shares, points = np.broadcast_to(0.0, (count, len(CLASSES))), np.broadcast_to(np.int64(0), count)
            slim = replace(slim, class_shares=shares, points=points)
        return replace(self, objects=slim)

    def without_embeddings(self) -> "FrameView":
        """Return the view as one sees it whose embeddings are another generation's."""
        unknown = replace(self.objects, embeddings=(None,) * len(self.objects))
        return replace(self, embedding=None, objects=unknown)


UNSEEN = FrameView(None, np.zeros(len(CLASSES)))
"""A frame of which nothing is known."""


def frame_view(frame_score: bytes | None) -> FrameView:
    """Return the view of a serialised FrameScore; None is unseen.

    Scores come from upstream as well: what is malformed in them is not known, and a class that is not ours does not count.
    """
    if frame_score is None:
        return UNSEEN
    message = scoring_pb2.FrameScore.FromString(frame_score)
    # (D, classes of the message)
    probabilities = [_probabilities(found, len(message.class_names)) for found in message.objects]
    shares = np.array([_of_our_classes(row, message.class_names) for row in probabilities]).reshape(-1, len(CLASSES))
    embeddings = _embeddings(message.objects)
    known = [row for row in embeddings if row is not None]
    return FrameView(
        np.asarray(unit(np.stack(known)).mean(axis=0)) if known else None,
        shares.sum(axis=0),
        ObjectViews(
            np.array([found.score if 0 <= found.score < math.inf else 0.0 for found in message.objects], np.float64),
            embeddings,
            shares,
            np.array([found.points for found in message.objects], np.int64),
        ),
    )


def _embeddings(objects: Sequence[scoring_pb2.ObjectScore]) -> tuple[Embedding | None, ...]:
    """Return the objects' embeddings; none of any where one that is there is malformed."""
    unknown = (None,) * len(objects)
    try:
        rows = [tensor_values(found.embedding) if found.HasField("embedding") else None for found in objects]
    except InvalidArgument:
        return unknown
    there = [row for row in rows if row is not None]
    if any(row.ndim != 1 or row.shape != there[0].shape or not np.isfinite(row).all() for row in there):
        return unknown
    return tuple(rows)


def _probabilities(found: scoring_pb2.ObjectScore, classes: int) -> NDArray[np.float64]:
    """Return the class probabilities of an object, zeros where they are malformed."""
    row = np.array(found.class_probabilities, np.float64)
    sound = len(row) == classes and (row >= 0).all() and row.sum() <= 1 + SUM_TOLERANCE  # NaN fails both
    return row if sound else np.zeros(classes)


def _of_our_classes(row: NDArray[np.float64], names: Sequence[str]) -> NDArray[np.float64]:
    expected = dict(zip(names, row.tolist(), strict=True))
    return np.array([expected.get(name, 0.0) for name in CLASSES])
