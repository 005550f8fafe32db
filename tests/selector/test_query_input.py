"""Tasks as the arrays of a query."""

from dataclasses import replace
from datetime import timedelta

import numpy as np
from support.records import START

from quandary.labels import CLASSES
from quandary_server.selection.cost import LabellingCost
from quandary_server.selector.frame_views import FrameView
from quandary_server.selector.query_input import query_input
from quandary_server.storage.task_values import ScoredTask, TakenTask

COST = LabellingCost(frame_s=10.0, box_s=100.0)
CARS = np.eye(len(CLASSES))[0]


def waiting(frame_id: str, at_s: float, score: float, crops: int) -> ScoredTask:
    return ScoredTask(frame_id, "drive", START + timedelta(seconds=at_s), score, "g1", crops)


def view(*embedding: float) -> FrameView:
    return FrameView(np.array(embedding, np.float32), CARS)


TAKEN = TakenTask("c", "other", START + timedelta(seconds=7), "g1", 1)


def test_tasks_become_rows_in_their_order() -> None:
    tasks = [waiting("b", 1.5, 0.25, 0), waiting("a", 3.0, 0.5, 2)]
    candidates, taken = query_input(tasks, [TAKEN], {"a": view(1, 2), "c": view(3, 4)}, COST, "g1")
    assert (candidates.ids.tolist(), candidates.drives.tolist()) == (["b", "a"], ["drive", "drive"])
    assert (candidates.scores.tolist(), candidates.seconds.tolist()) == ([0.25, 0.5], [10.0, 210.0])
    assert np.diff(candidates.stamps_s).tolist() == [1.5]
    assert candidates.embeddings.tolist() == [[0, 0], [1, 2]]
    assert candidates.class_shares.tolist() == [[0.0] * len(CLASSES), CARS.tolist()]
    assert (taken.drives.tolist(), taken.embeddings.tolist()) == (["other"], [[3, 4]])
    assert taken.stamps_s[0] - candidates.stamps_s[0] == 5.5


def test_without_views_or_tasks_there_are_no_embeddings() -> None:
    candidates, taken = query_input([waiting("a", 0.0, 0.5, 1)], [TAKEN], {}, COST, "g1")
    assert (candidates.embeddings.shape, taken.embeddings.shape) == ((1, 0), (1, 0))
    candidates, taken = query_input([], [], {}, COST, "g1")
    assert (len(candidates), len(taken), candidates.class_shares.shape) == (0, 0, (0, len(CLASSES)))


def test_tags_and_classes_of_what_is_taken_come_along_for_quotas() -> None:
    tasks = [replace(waiting("a", 0.0, 0.5, 1), tags={"light": "day", "more": "x"}), waiting("b", 9.0, 0.5, 1)]
    held = replace(TAKEN, tags={"weather": "rain"})
    candidates, taken = query_input(tasks, [held], {"c": view(1, 2)}, COST, "g1", ("light", "weather"))
    assert candidates.tags is not None
    assert taken.tags is not None
    assert taken.class_shares is not None
    assert (candidates.tags.tolist(), taken.tags.tolist()) == ([["day", ""], ["", ""]], [["", "rain"]])
    assert taken.class_shares.tolist() == [CARS.tolist()]
    assert query_input(tasks, [held], {}, COST, "g1")[0].tags is None


def test_an_embedding_of_another_size_is_unknown() -> None:
    tasks = [waiting(frame_id, 0.0, 0.5, 1) for frame_id in "ab"]
    candidates, taken = query_input(tasks, [TAKEN], {"a": view(1, 2, 3), "b": view(1, 2), "c": view(3, 4)}, COST, "g1")
    assert candidates.embeddings.tolist() == [[0, 0], [1, 2]]
    assert taken.embeddings.tolist() == [[3, 4]]
