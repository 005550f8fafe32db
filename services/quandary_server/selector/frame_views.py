"""What a query sees of a frame: its embedding and the classes it is expected to hold, from its FrameScore."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from quandary.convert import tensor_values
from quandary.errors import InvalidArgument
from quandary.labels import CLASSES
from quandary.v1 import scoring_pb2
from quandary_server.selection.core_set import unit


@dataclass(frozen=True, eq=False)
class FrameView:
    """embedding (E,): the mean of its objects', each at length 1; None where none is known. class_shares (C,): of CLASSES."""

    embedding: NDArray[np.float32] | None
    class_shares: NDArray[np.float64]


UNSEEN = FrameView(None, np.zeros(len(CLASSES)))
"""A frame of which nothing is known."""


def frame_view(frame_score: bytes | None) -> FrameView:
    """Return the view of a serialised FrameScore; None is unseen.

    Scores come from upstream as well: what is malformed in them is not known, and a class that is not ours does not count.
    """
    if frame_score is None:
        return UNSEEN
    message = scoring_pb2.FrameScore.FromString(frame_score)
    return FrameView(_embedding(message.objects), _class_shares(message))


def _embedding(objects: Iterable[scoring_pb2.ObjectScore]) -> NDArray[np.float32] | None:
    try:
        rows = [tensor_values(found.embedding) for found in objects if found.HasField("embedding")]
    except InvalidArgument:
        return None
    if not rows or any(row.ndim != 1 or row.shape != rows[0].shape or not np.isfinite(row).all() for row in rows):
        return None
    # (D, E)
    return np.asarray(unit(np.stack(rows)).mean(axis=0))


def _class_shares(message: scoring_pb2.FrameScore) -> NDArray[np.float64]:
    rows = [found.class_probabilities for found in message.objects]
    rows = [row for row in rows if len(row) == len(message.class_names)]
    # (D, classes of the message)
    probabilities = np.array(rows, np.float64).reshape(len(rows), len(message.class_names))
    sound = np.isfinite(probabilities).all(axis=1) & (probabilities >= 0).all(axis=1)
    expected = dict(zip(message.class_names, probabilities[sound].sum(axis=0).tolist(), strict=True))
    return np.array([expected.get(name, 0.0) for name in CLASSES])
