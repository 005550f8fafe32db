"""Consumer and rescorer over real parts, and what came of them."""

import asyncio
from collections.abc import Callable, Collection
from datetime import datetime, timedelta
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quandary import AsyncScoringClient, Frame, FrameRecord, ScoringOptions, convert, result_score
from quandary_server.selection.plan import Strategy
from quandary_server.selector.assignment import Assignment
from quandary_server.selector.consumer import Consumer
from quandary_server.selector.frame_scores import FrameScorer, Scored
from quandary_server.selector.pace import Pace
from quandary_server.selector.rescoring import Rescorer
from quandary_server.settings import QuerySettings
from quandary_server.storage.fleet_log import SqliteFleetLog
from quandary_server.storage.store import Store
from quandary_server.storage.task_values import Task
from support.records import START
from support.scoring import ScoringService
from support.tally import CountingTally

PACE = Pace(batch=3, in_flight=2, poll=timedelta(milliseconds=10))
NOW = START + timedelta(hours=1)
QUERY = QuerySettings(strategy=Strategy.TOP_K, gap=timedelta(seconds=2), picked=3, refill_below=2, chance=0.0)
FRAMES = 8


class Reached:
    """A scorer that can be out of reach: all of it, or for some frames, whose time runs out at once."""

    def __init__(self, scorer: FrameScorer, away: Callable[[], bool], never: Callable[[], Collection[str]]) -> None:
        self._scorer, self._away, self._never = scorer, away, never

    async def score(self, record: FrameRecord) -> Scored | None:
        if record.frame_id in self._never():
            raise TimeoutError
        return await self._scorer.score(record)

    async def generation(self) -> str:
        return "" if self._away() else await self._scorer.generation()


class Selector:
    """Consumer and rescorer over real parts, which live on from one call to the next while query and pace stay the same."""

    def __init__(self, scoring: ScoringService, fleet_log: SqliteFleetLog, store: Store) -> None:
        self._scoring, self._log, self._store = scoring, fleet_log, store
        self.rescored = 0
        self.query, self.pace = QUERY, PACE
        self.away = False
        self.never: Collection[str] = ()
        self.clock: Callable[[], datetime] = lambda: NOW
        self._loop = asyncio.Runner()
        self._client = self._loop.run(self._connect())
        self._rescorer, self._made_for = self._made(), (self.query, self.pace)

    @property
    def generation(self) -> str:
        return self._rescorer.generation

    @property
    def ranked_generation(self) -> str:
        return self._rescorer.ranked_generation

    def settle(self) -> None:
        """Take in and score and rank until there is nothing left to do."""
        while self.step():
            pass

    def step(self) -> bool:
        """Take in what is logged, and score the next batch or rank; return whether there was anything to do."""
        if (self.query, self.pace) != self._made_for:
            self._rescorer, self._made_for = self._made(), (self.query, self.pace)
        return self._loop.run(self._step())

    def restart(self) -> None:
        self._rescorer = self._made()

    def close(self) -> None:
        self._loop.run(self._client.close())
        self._loop.close()

    async def _connect(self) -> AsyncScoringClient:
        return AsyncScoringClient(self._scoring.target, token=self._scoring.token)

    def _made(self) -> Rescorer:
        scorer, rng = Reached(self._scorer(), lambda: self.away, lambda: self.never), np.random.default_rng(0)
        return Rescorer(self._store, scorer, self.query, lambda: self.clock(), self._count, self.pace, rng)

    def _scorer(self) -> FrameScorer:
        options = ScoringOptions(include_embedding=self.query.plan.needs_embeddings)
        return FrameScorer(self._client, options, lambda: None, lambda _: None)

    async def _step(self) -> bool:
        assignment = Assignment(0.0, frozenset(), seed=0)
        consumer = Consumer(self._log, self._store, self._scorer(), assignment, lambda: NOW, CountingTally(), PACE)
        while await consumer.step():
            pass
        return await self._rescorer.step()

    def _count(self, queue: str, count: int) -> None:
        assert queue == "active"
        self.rescored += count


def tasks_of(store: Store) -> dict[str, Any]:
    return {task.frame_id: task for task in store.tasks.list("active", page_size=500, now=NOW).items}


def standing(store: Store) -> dict[str, tuple[float | None, bool, str]]:
    """Score, whether it is ranked, and fold of all tasks."""
    return {name: (task.place.score, task.place.rank is not None, task.folded_under) for name, task in tasks_of(store).items()}


def roll_back(scoring: ScoringService, generation: str) -> None:
    """Go back to the generation before, which this is."""
    pointer = scoring.registry.pointer()
    assert pointer is not None
    scoring.registry.roll_back(pointer, NOW, "test")
    scoring.wait_for(generation)


def lease(store: Store, count: int = FRAMES) -> list[Task]:
    return list(store.leases.lease("active", holder="lena", max_tasks=count, duration=timedelta(hours=1), now=NOW))


def folds(store: Store) -> dict[str, str]:
    return {name: task.folded_under for name, task in tasks_of(store).items() if task.folded_under}


def ranked_of(store: Store) -> list[Any]:
    """The waiting tasks that a query picked, in its order."""
    ranked = [task for task in tasks_of(store).values() if task.place.rank is not None and task.state.value == "waiting"]
    return sorted(ranked, key=lambda task: task.place.rank)


def embeddings_of(scoring: ScoringService, records: dict[str, FrameRecord]) -> dict[str, NDArray[np.float32]]:
    """What the current generation makes of frames: the mean of their objects' unit embeddings, at length 1."""
    found = {}
    with scoring.client() as client:
        for frame_id, record in records.items():
            path = record.cloud_uri.removeprefix("file://")
            points = np.fromfile(path, "<f4").reshape(-1, 4)
            frame = Frame(frame_id, record.calibration, record.proposals, points=points)
            answer = client.score_frames([frame], ScoringOptions(include_embedding=True))
            objects = result_score(answer.results[0]).objects
            rows = np.array([convert.tensor_values(found.embedding) for found in objects])
            mean = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).mean(axis=0)
            found[frame_id] = mean / np.linalg.norm(mean)
    return found
