"""The tasks of a queue as the arrays that a query takes."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from quandary_server.selection.candidates import Candidates, Taken
from quandary_server.selection.cost import LabellingCost
from quandary_server.selection.objects import Objects
from quandary_server.selector.frame_views import UNSEEN, Embedding, FrameView
from quandary_server.storage.task_values import ScoredTask, TakenTask


def query_input(
    waiting: Sequence[ScoredTask],
    taken: Sequence[TakenTask],
    views: Mapping[str, FrameView],
    cost: LabellingCost,
    generation: str,
    tag_keys: Sequence[str] = (),
    of_objects: Callable[[Sequence[ScoredTask]], Mapping[str, FrameView]] | None = None,
) -> tuple[Candidates, Taken]:
    """Return the waiting tasks as candidates, in their order, and those that are taken; views: by frame id, none is unseen.

    generation: the newest. What is leased, or was taken for a score of it, holds off its near copies and counts for quotas.
    tag_keys: of the plan; with any the tasks carry their tags. of_objects: returns views with the embeddings of objects, where
    those are compared; of what waits they are asked for where they are.
    """
    of_waiting = [views.get(task.frame_id, UNSEEN) for task in waiting]
    of_taken = [views.get(task.frame_id, UNSEEN) for task in taken]
    size = _embedding_size([*of_waiting, *of_taken])
    objects = _objects(of_waiting, 0)
    tasks = {task.frame_id: task for task in waiting}

    def read_objects(ids: NDArray[np.str_]) -> Objects:
        assert of_objects is not None
        asked = [tasks[frame_id] for frame_id in ids.tolist()]
        found = of_objects(asked)
        return _objects([found[task.frame_id] for task in asked], size)

    candidates = Candidates(
        ids=np.array([task.frame_id for task in waiting], np.str_),
        drives=np.array([task.drive_id for task in waiting], np.str_),
        stamps_s=np.array([task.stamp.timestamp() for task in waiting], np.float64),
        scores=np.array([task.score for task in waiting], np.float64),
        embeddings=_rows([view.embedding for view in of_waiting], size),
        class_shares=_class_shares(of_waiting),
        seconds=cost.seconds([task.crops for task in waiting], *_told(of_waiting)),
        objects=objects,
        positions_m=_positions_m(waiting),
        tags=_tags(waiting, tag_keys),
        read_objects=read_objects if of_objects else None,
    )
    leased = np.array([task.leased for task in taken], np.bool_)
    held = Taken(
        drives=np.array([task.drive_id for task in taken], np.str_),
        stamps_s=np.array([task.stamp.timestamp() for task in taken], np.float64),
        embeddings=_rows([view.embedding for view in of_taken], size),
        leased=leased,
        folds=leased | np.array([task.generation == generation for task in taken], np.bool_),
        objects=_objects(of_taken, size if of_objects else 0),
        positions_m=_positions_m(taken),
        class_shares=_class_shares(of_taken),
        tags=_tags(taken, tag_keys),
    )
    return candidates, held


def _embedding_size(views: Sequence[FrameView]) -> int:
    """Return the size that most embeddings have: scores from upstream may name our generation and bring another's."""
    sizes = Counter(len(view.embedding) for view in views if view.embedding is not None)
    return max(sizes, key=lambda size: (sizes[size], size), default=0)


def _rows(embeddings: Sequence[Embedding | None], size: int) -> NDArray[np.float32]:
    """Return the embeddings (N, size), zeros where none of this size is known."""
    rows = np.zeros((len(embeddings), size), np.float32)
    for row, embedding in zip(rows, embeddings, strict=True):
        if embedding is not None and len(embedding) == size:
            row[:] = embedding
    return rows


def _class_shares(views: Sequence[FrameView]) -> NDArray[np.float64]:
    return np.array([view.class_shares for view in views]).reshape(len(views), len(UNSEEN.class_shares))


def _tags(tasks: Sequence[ScoredTask | TakenTask], keys: Sequence[str]) -> NDArray[np.str_] | None:
    """Return the tags (N, K) of the keys, None without any."""
    if not keys:
        return None
    found = [[(task.tags or {}).get(key, "") for key in keys] for task in tasks]
    return np.array(found, np.str_).reshape(len(tasks), len(keys))


def _objects(views: Sequence[FrameView], size: int) -> Objects:
    frames = np.repeat(np.arange(len(views)), [len(view.objects) for view in views])
    scores = np.concatenate([np.empty(0), *(view.objects.scores for view in views)])
    return Objects(frames, scores, _rows([row for view in views for row in view.objects.embeddings], size))


def _told(views: Sequence[FrameView]) -> tuple[NDArray[np.intp], NDArray[np.float64], NDArray[np.int64]]:
    """Return the frames, class probabilities and points of the objects whose classes are known."""
    frames = np.repeat(np.arange(len(views)), [len(view.objects) for view in views])
    shares = np.concatenate([UNSEEN.objects.class_shares, *(view.objects.class_shares for view in views)])
    points = np.concatenate([UNSEEN.objects.points, *(view.objects.points for view in views)])
    known = shares.any(axis=1)
    return frames[known], shares[known], points[known]


def _positions_m(tasks: Sequence[ScoredTask | TakenTask]) -> NDArray[np.float64]:
    unknown = (np.nan, np.nan, np.nan)
    return np.array([task.ego_position_m or unknown for task in tasks], np.float64).reshape(len(tasks), 3)
