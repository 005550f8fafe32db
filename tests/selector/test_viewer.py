"""What a query is given of the tasks that wait and of those that are taken."""

import asyncio
from datetime import timedelta

import numpy as np
import pytest
from support.records import START

from quandary import convert
from quandary.labels import CLASSES
from quandary.v1 import scoring_pb2
from quandary_server.selection.plan import QueryPlan, Strategy
from quandary_server.selector.viewer import Viewer
from quandary_server.storage.store import Store
from quandary_server.storage.task_values import NewScore, Task, TaskEntry

NOW = START + timedelta(hours=1)
CAR = [1.0, *([0.0] * (len(CLASSES) - 1))]
NOTHING, CLASSES_ALONE = QueryPlan(Strategy.TOP_K, gap_s=1.0), QueryPlan(Strategy.TOP_K, class_floor=0.5, gap_s=1.0, chance=0.5)
EMBEDDINGS, OBJECTS = QueryPlan(Strategy.K_CENTRE), QueryPlan(Strategy.COVER)


def scored(frame_id: str) -> NewScore:
    """A car with an embedding."""
    found = scoring_pb2.ObjectScore(class_probabilities=CAR)
    found.embedding.CopyFrom(convert.tensor_message(np.array([3.0, 4.0], np.float32)))
    return NewScore(frame_id, 0.5, scoring_pb2.FrameScore(class_names=CLASSES, objects=[found]).SerializeToString())


class Scorings:
    """Counts what is scored anew."""

    def __init__(self) -> None:
        self.frames: list[str] = []

    async def score(self, task: Task) -> tuple[str, NewScore]:
        self.frames.append(task.frame_id)
        return "g2", scored(task.frame_id)


@pytest.fixture
def filled(store: Store) -> Store:
    """f0 is leased, f1 waits; g1 scored and embedded both."""
    entries = [
        TaskEntry(
            position=i + 1,
            queue="active",
            frame_id=f"f{i}",
            drive_id="drive",
            stamp=START + timedelta(seconds=i),
            record=b"",
            crops=1,
            shuffle=i,
            score=1.0 - i,
            generation="g1",
            frame_score=scored(f"f{i}").frame_score,
        )
        for i in range(2)
    ]
    store.intake.apply(entries, log="fleet", after=0, position=2, now=NOW)
    store.leases.lease("active", holder="lena", max_tasks=1, duration=timedelta(hours=1), now=NOW)
    return store


@pytest.mark.parametrize(
    ("plan", "of_waiting", "of_taken"),
    [(NOTHING, False, False), (CLASSES_ALONE, True, False), (EMBEDDINGS, True, True), (OBJECTS, True, True)],
)
def test_frames_are_viewed_only_where_the_plan_looks_at_them(
    filled: Store, plan: QueryPlan, of_waiting: bool, of_taken: bool
) -> None:
    viewer = Viewer(filled, Scorings().score, plan, lambda: NOW, batch=2)
    (waiting,), (taken,) = viewer.tasks()
    assert (waiting.frame_id, taken.frame_id) == ("f1", "f0")
    views = asyncio.run(viewer.views([waiting], [taken], "g1"))
    assert set(views) == {frame_id for frame_id, seen in (("f1", of_waiting), ("f0", of_taken)) if seen}
    assert all(view.class_shares.tolist() == CAR for view in views.values())


def test_embeddings_of_objects_are_kept_of_what_is_taken_and_read_again_of_what_waits(filled: Store) -> None:
    viewer = Viewer(filled, Scorings().score, OBJECTS, lambda: NOW, batch=2)
    waiting, taken = viewer.tasks()
    views = asyncio.run(viewer.views(waiting, taken, "g1"))
    known = [[3.0, 4.0]]
    assert [row.tolist() for row in views["f0"].objects.embeddings if row is not None] == known
    assert (views["f1"].objects.embeddings, len(views["f1"].objects.scores)) == ((None,), 1)
    assert not views["f1"].objects.class_shares.any()
    again = viewer.of_objects(waiting)["f1"].objects
    assert [row.tolist() for row in again.embeddings if row is not None] == known

    # of another generation they are not known, and not asked for
    views = asyncio.run(viewer.views(waiting, taken, "g2"))
    assert views["f0"].objects.embeddings == viewer.of_objects(waiting)["f1"].objects.embeddings == (None,)


def test_classes_of_objects_are_kept_for_a_budget(filled: Store) -> None:
    viewer = Viewer(filled, Scorings().score, NOTHING, lambda: NOW, batch=2, budgeted=True)
    views = asyncio.run(viewer.views(*viewer.tasks(), "g1"))
    assert views["f1"].objects.class_shares.tolist() == [CAR]


@pytest.mark.parametrize(("plan", "again"), [(NOTHING, []), (CLASSES_ALONE, []), (EMBEDDINGS, ["f0", "f1"])])
def test_a_new_generation_embeds_only_for_a_plan_that_needs_it(filled: Store, plan: QueryPlan, again: list[str]) -> None:
    scorings = Scorings()
    viewer = Viewer(filled, scorings.score, plan, lambda: NOW, batch=2)
    views = asyncio.run(viewer.views(*viewer.tasks(), "g2"))
    assert sorted(scorings.frames) == again
    assert all(view.embedding is not None for view in views.values()) == (plan is not CLASSES_ALONE)
