"""Which labelled frame looks most like a task's, to the generation that answers."""

import asyncio
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.labelling import Server, fill
from support.records import START, some_labels
from support.scoring import ScoringService

from quandary import AsyncScoringClient, ScoringOptions, convert
from quandary.labels import FrameLabels
from quandary.names import task_name
from quandary.v1 import scoring_pb2
from quandary_server.selector.embedder import Embedder
from quandary_server.selector.frame_scores import FrameScorer
from quandary_server.selector.labelled_index import LabelledIndex
from quandary_server.selector.pace import Pace
from quandary_server.storage.elections import RANKING
from quandary_server.storage.store import Store
from quandary_server.storage.task_values import NewScore

GENERATION = "g000001-00000000"
PACE = Pace(batch=3, in_flight=2, poll=timedelta(milliseconds=10))


def embedded(name: str, *rows: list[float]) -> NewScore:
    """Return a score whose objects have these embeddings."""
    objects = [scoring_pb2.ObjectScore(embedding=convert.tensor_message(np.array(row, np.float32))) for row in rows]
    return NewScore(name, 0.5, scoring_pb2.FrameScore(score=0.5, objects=objects).SerializeToString())


def unit_bytes(*numbers: float) -> bytes:
    row = np.array(numbers, np.float64)
    return bytes((row / np.linalg.norm(row)).astype("<f4").tobytes())


def test_get_task_tells_the_nearest_as_soon_as_it_is_labelled_and_embedded(server: Server, store: Store) -> None:
    scores = [embedded("f0", [1, 0], [0, 2]), embedded("f1", [0, 1]), embedded("f2", [1, 0.9])]
    store.ranking.rescore("active", scores, generation=GENERATION, now=START)
    with server.client() as client:
        name = task_name("active", "f0")
        assert not client.get_task(name).nearest_labelled_frame
        store.labels.submit([some_labels("f1"), some_labels("f0")], labeller="eve", now=START)
        store.embeddings.write({"f0": unit_bytes(1, 1), "f1": unit_bytes(0, 1)}, generation=GENERATION)
        task = client.get_task(name)
        # itself does not count; the mean of its objects stands at 45 degrees
        assert task.nearest_labelled_frame == "f1"
        assert task.nearest_labelled_distance == pytest.approx(1 - 0.5**0.5, abs=1e-6)
        store.labels.submit([some_labels("f2")], labeller="eve", now=START)
        store.embeddings.write({"f2": unit_bytes(1, 0.9)}, generation=GENERATION)
        assert client.get_task(name).nearest_labelled_frame == "f2"
        assert not client.get_task(task_name("active", "f3")).HasField("nearest_labelled_distance")  # unscored


def test_an_index_forgets_the_generation_before_and_holds_tasks_of_it_against_nothing(store: Store, server: Server) -> None:
    store.ranking.rescore("active", [embedded("f0", [1, 0])], generation="g1", now=START)
    store.labels.submit([FrameLabels("f1")], labeller="eve", now=START)
    store.embeddings.write({"f1": unit_bytes(1, 0)}, generation="g1")
    newest = ["g1"]
    index = LabelledIndex(store.embeddings, lambda: newest[0])
    of_g1 = store.tasks.get("active", "f0", now=START)
    assert index.nearest(of_g1) == ("f1", 0.0)
    newest[0] = "g2"
    assert index.nearest(of_g1) is None
    store.ranking.rescore("active", [embedded("f0", [0, 1])], generation="g2", now=START)
    of_g2 = store.tasks.get("active", "f0", now=START)
    assert index.nearest(of_g2) is None  # not embedded by it yet
    store.embeddings.write({"f1": unit_bytes(1, 1)}, generation="g2")
    found = index.nearest(of_g2)
    assert found is not None
    assert (found[0], found[1] == pytest.approx(1 - 0.5**0.5, abs=1e-6)) == ("f1", True)


def test_what_is_labelled_is_embedded_by_each_generation(
    scoring: ScoringService, store: Store, make_frame: Any, tmp_path: Path
) -> None:
    fill(store, tmp_path / "clouds", make_frame)
    first, second = scoring.register(), scoring.register(temperature=3.0)
    scoring.promote(first)
    store.labels.submit([FrameLabels("f0"), FrameLabels("f1")], labeller="eve", now=START)
    (tmp_path / "clouds" / "f1.bin").unlink()
    lead = store.elections.campaign(RANKING, "ada", None, now=START, lasts=timedelta(hours=1))

    async def settle(leads: bool) -> None:
        async with AsyncScoringClient(scoring.target, token=scoring.token) as client:
            scorer = FrameScorer(client, ScoringOptions(include_embedding=True), lambda: None, lambda _: None)
            embedder = Embedder(store, scorer, lambda: lead if leads else None, PACE)
            while await embedder.step():
                pass

    def told(generation: str) -> dict[str, bytes]:
        return {row.frame_id: row.embedding for row in store.embeddings.since(generation, after=0, limit=99)}

    asyncio.run(settle(leads=False))
    assert not told(first)
    asyncio.run(settle(leads=True))
    before = told(first)
    assert list(before) == ["f0"]  # the cloud of the other is gone
    assert np.linalg.norm(np.frombuffer(before["f0"], "<f4")) == pytest.approx(1.0, abs=1e-6)
    scoring.promote(second)
    asyncio.run(settle(leads=True))
    assert (list(told(second)), list(told(first))) == (["f0"], [])
