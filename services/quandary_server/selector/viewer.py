"""Collects what a query sees of frames, by one generation."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from datetime import datetime

from quandary_server.selection.plan import QueryPlan
from quandary_server.selector.frame_views import FrameView, frame_view
from quandary_server.storage.store import Store
from quandary_server.storage.task_values import ACTIVE_QUEUE, NewScore, ScoredTask, TakenTask, Task

PIECE = 500
"""FrameScores read at once, kilobytes each."""

Score = Callable[[Task], Awaitable[tuple[str, NewScore] | None]]
"""Scores a task's frame: the generation that did and the score, None where it cannot be scored."""


class Viewer:
    """Views of frames, from their stored scores or from new ones.

    Each generation is trained anew, and its embeddings compare to no other's. So frames that it has not embedded, labelled
    before it came or scored upstream, are scored once for their embedding alone: their tasks keep the score they have. A cover
    does without: what older generations had labelled, the newest has learnt. budgeted: what labels cost is looked at.
    queue: whose tasks they are.
    """

    def __init__(
        self,
        store: Store,
        score: Score,
        plan: QueryPlan,
        clock: Callable[[], datetime],
        batch: int,
        budgeted: bool = False,
        queue: str = ACTIVE_QUEUE,
    ) -> None:
        self._store, self._score, self._plan = store, score, plan
        self._clock, self._batch, self._queue = clock, batch, queue
        self._looks_at_taken = plan.needs_embeddings or plan.needs_objects or plan.needs_taken_class_shares
        self._looks_at_waiting = self._looks_at_taken or plan.needs_class_shares or budgeted
        self._budgeted = budgeted
        self._generation = ""
        self._embedded: dict[str, FrameView | None] = {}

    def tasks(self) -> tuple[tuple[ScoredTask, ...], tuple[TakenTask, ...]]:
        """Return what waits and what is taken."""
        now, with_tags, ranking = self._clock(), bool(self._plan.tag_keys), self._store.ranking
        waiting = ranking.candidates(self._queue, now=now, with_tags=with_tags)
        return waiting, ranking.taken(self._queue, now=now, with_tags=with_tags)

    async def views(
        self, waiting: Sequence[ScoredTask], taken: Sequence[TakenTask], generation: str, *, embed: bool = True
    ) -> Mapping[str, FrameView]:
        """Return views by frame id, of what the query looks at; of a frame that cannot be scored the embedding is unknown.

        Of what waits objects, classes and embeddings may be looked at, of what is taken embeddings, and classes for quotas.
        embed: have what the generation has not embedded scored for it.
        """
        waiting, taken = waiting if self._looks_at_waiting else (), taken if self._looks_at_taken else ()
        if generation != self._generation:
            self._generation = generation
            self._embedded.clear()

        found = await asyncio.to_thread(self._kept, waiting, taken)

        if embed and self._plan.needs_embeddings:
            tasks: list[ScoredTask | TakenTask] = [*waiting, *taken]
            missing = [task.frame_id for task in tasks if task.crops and found[task.frame_id].embedding is None]
            await self._embed([frame_id for frame_id in missing if frame_id not in self._embedded])
        return found | self._known_anew()

    def of_objects(self, tasks: Sequence[ScoredTask]) -> Mapping[str, FrameView]:
        """Return views by frame id with the embeddings of objects, of a few tasks that wait."""
        anew = self._known_anew()
        return {task.frame_id: anew.get(task.frame_id, view) for task, view in self._stored(tasks)}

    def _known_anew(self) -> dict[str, FrameView]:
        return {frame_id: view for frame_id, view in self._embedded.items() if view is not None}

    def _kept(self, waiting: Sequence[ScoredTask], taken: Sequence[TakenTask]) -> dict[str, FrameView]:
        views = {task.frame_id: view.slim(classes=self._budgeted) for task, view in self._stored(waiting)}
        for task, view in self._stored(taken):
            views[task.frame_id] = view if self._plan.needs_objects else view.slim(classes=False)
        return views

    def _stored(self, tasks: Sequence[ScoredTask | TakenTask]) -> Iterator[tuple[ScoredTask | TakenTask, FrameView]]:
        """Yield each task with its view; embeddings of another generation are not known."""
        for start in range(0, len(tasks), PIECE):
            piece = tasks[start : start + PIECE]
            scores = self._store.ranking.frame_scores(self._queue, [task.frame_id for task in piece])
            for task in piece:
                view = frame_view(scores.get(task.frame_id))
                yield task, view if task.generation == self._generation else view.without_embeddings()

    async def _embed(self, frame_ids: Sequence[str]) -> None:
        for start in range(0, len(frame_ids), self._batch):
            await asyncio.gather(*map(self._embed_one, frame_ids[start : start + self._batch]))

    async def _embed_one(self, frame_id: str) -> None:
        task = await asyncio.to_thread(self._store.tasks.get, self._queue, frame_id, now=self._clock())
        scored = await self._score(task)
        mine = scored if scored is not None and scored[0] == self._generation else None
        view = frame_view(mine[1].frame_score) if mine is not None else None
        if view is not None and not self._plan.needs_objects:
            view = view.slim(classes=self._budgeted)
        self._embedded[frame_id] = view
