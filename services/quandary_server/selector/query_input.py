"""The tasks of a queue as the arrays that a query takes."""

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from quandary_server.selection.candidates import Candidates, Taken
from quandary_server.selection.cost import LabellingCost
from quandary_server.selector.frame_views import UNSEEN, FrameView
from quandary_server.storage.task_values import ScoredTask, TakenTask


def query_input(
    waiting: Sequence[ScoredTask], taken: Sequence[TakenTask], views: Mapping[str, FrameView], cost: LabellingCost
) -> tuple[Candidates, Taken]:
    """Return the waiting tasks as candidates, in their order, and those that are taken; views: by frame id, none is unseen."""
    of_waiting = [views.get(task.frame_id, UNSEEN) for task in waiting]
    of_taken = [views.get(task.frame_id, UNSEEN) for task in taken]
    size = _embedding_size([*of_waiting, *of_taken])
    candidates = Candidates(
        ids=np.array([task.frame_id for task in waiting], np.str_),
        drives=np.array([task.drive_id for task in waiting], np.str_),
        stamps_s=np.array([task.stamp.timestamp() for task in waiting], np.float64),
        scores=np.array([task.score for task in waiting], np.float64),
        embeddings=_embeddings(of_waiting, size),
        class_shares=np.array([view.class_shares for view in of_waiting]).reshape(len(waiting), len(UNSEEN.class_shares)),
        seconds=cost.seconds([task.crops for task in waiting]),
    )
    held = Taken(
        drives=np.array([task.drive_id for task in taken], np.str_),
        stamps_s=np.array([task.stamp.timestamp() for task in taken], np.float64),
        embeddings=_embeddings(of_taken, size),
    )
    return candidates, held


def _embedding_size(views: Sequence[FrameView]) -> int:
    """Return the size that most embeddings have: scores from upstream may name our generation and bring another's."""
    sizes = Counter(len(view.embedding) for view in views if view.embedding is not None)
    return max(sizes, key=lambda size: (sizes[size], size), default=0)


def _embeddings(views: Sequence[FrameView], size: int) -> NDArray[np.float32]:
    """Return the embeddings (N, size), zeros where none of this size is known."""
    rows = np.zeros((len(views), size), np.float32)
    for row, view in zip(rows, views, strict=True):
        if view.embedding is not None and len(view.embedding) == size:
            row[:] = view.embedding
    return rows
