"""Keeps the waiting tasks scored by the newest generation, and ranks them when they are."""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime

import numpy as np

from quandary import convert
from quandary.errors import Aborted, QuandaryError
from quandary.v1 import fleet_log_pb2
from quandary_server.selection.query import asked
from quandary_server.selector.frame_scores import FrameRefused, Scorer
from quandary_server.selector.frame_views import FrameView
from quandary_server.selector.pace import Pace
from quandary_server.selector.query_input import query_input
from quandary_server.selector.viewer import Viewer
from quandary_server.settings import QuerySettings
from quandary_server.storage.elections import Lead
from quandary_server.storage.store import Store
from quandary_server.storage.task_values import ACTIVE_QUEUE, NewScore, ScoredTask, TakenTask, Task

ALONE = Lead("nothing", 0)
"""Of who was not elected, since nobody else is there."""

log = logging.getLogger(__name__)


class Rescorer:
    """Scores what of a queue the current generation has not scored yet, in lease order, then runs its query: ranks and folds.

    Of the selectors of a store only the one that leads does, and where another has been elected meanwhile nothing is written.

    generation: the newest seen to answer, at `generation_seen`. ranked_generation: the one whose scores the last query ranked.
    """

    def __init__(
        self,
        store: Store,
        scorer: Scorer,
        query: QuerySettings,
        clock: Callable[[], datetime],
        rescored: Callable[[str, int], None],
        pace: Pace,
        rng: np.random.Generator,
        queue: str = ACTIVE_QUEUE,
        lead: Callable[[], Lead | None] = lambda: ALONE,
    ) -> None:
        self._store, self._scorer, self._query, self._queue = store, scorer, query, queue
        self._clock, self._rescored = clock, rescored
        self._pace, self._rng, self._asked_lead = pace, rng, lead
        self._slots = asyncio.Semaphore(pace.in_flight)
        self._unscorable: set[str] = set()
        self._viewer = Viewer(store, self._score, query.plan, clock, pace.batch, query.budget is not None, queue)
        self._refill_below = query.refill_below
        self._lead: Lead | None = None
        self.generation = ""
        self.generation_seen: datetime | None = None
        self.ranked_generation = ""

    async def step(self, generation: str | None = None) -> bool:
        """Score the next batch, or rank if all is scored; return whether there was anything to do, and this one leads.

        generation: the current one, empty for none; None: asked for.
        """
        generation = await self._scorer.generation() if generation is None else generation
        if not generation:
            return False
        if generation != self.generation:
            log.info("generation_seen generation=%s", generation)
            self.generation, self.generation_seen = generation, self._clock()
            self._unscorable.clear()
        if not self._leads():
            return False

        try:
            return await self._move_on()
        except Aborted as error:
            log.warning("another_leads problem=%s", error)
            return False

    def _leads(self) -> bool:
        """Return whether this selector leads; who comes to lead ranks anew, whatever the one before had done."""
        lead = self._asked_lead()
        if lead is not None and lead != self._lead:
            self.ranked_generation = ""
            self._unscorable.clear()
        self._lead = lead
        return lead is not None

    async def _move_on(self) -> bool:
        behind = await asyncio.to_thread(self._behind)
        if behind:
            return await self._score_batch(behind)
        return await self._rank()

    def _behind(self) -> list[Task]:
        limit = self._pace.batch + len(self._unscorable)
        found = self._store.ranking.waiting_behind(self._queue, self.generation, limit=limit, now=self._clock())
        return [task for task in found if task.frame_id not in self._unscorable][: self._pace.batch]

    async def _score_batch(self, behind: list[Task]) -> bool:
        found = await asyncio.gather(*(self._score(task) for task in behind))
        for generation in {generation for generation, _ in filter(None, found)}:
            scores = [score for by, score in filter(None, found) if by == generation]
            written = await asyncio.to_thread(
                self._store.ranking.rescore,
                self._queue,
                scores,
                generation=generation,
                now=self._clock(),
                lead=self._lead_held(),
            )
            self._rescored(self._queue, written)
        return any(found)

    async def _score(self, task: Task) -> tuple[str, NewScore] | None:
        """Return a task's new score and the generation that gave it; None if it cannot be scored."""
        async with self._slots:
            try:
                record = convert.record(fleet_log_pb2.FrameRecord.FromString(task.record))
                scored = await self._scorer.score(record)
            except (QuandaryError, FrameRefused) as error:
                # its cloud is gone or broken: it keeps its old score, and is tried again with the next generation
                log.warning("task_not_rescored frame=%s problem=%s", task.frame_id, error)
                self._unscorable.add(task.frame_id)
                return None
        if scored is None:
            return None
        return scored.generation, NewScore(task.frame_id, scored.score, scored.frame_score)

    async def _rank(self) -> bool:
        """Run the query where the generation is new, or too few ranked tasks wait; return whether it ran."""
        if not await asyncio.to_thread(self._is_due):
            return False

        waiting, taken = await asyncio.to_thread(self._viewer.tasks)

        views = await self._viewer.views(waiting, taken, self.generation)

        self.ranked_generation = ""  # if the ranks are not written to their end, a query is due again
        await asyncio.to_thread(self._write_ranks, waiting, taken, views)
        self.ranked_generation = self.generation
        return True

    def _lead_held(self) -> Lead | None:
        return None if self._lead is ALONE else self._lead

    def _is_due(self) -> bool:
        new = self.ranked_generation != self.generation
        return new or self._store.ranking.ranks_run_out(self._queue, self._refill_below, now=self._clock())

    def _write_ranks(self, waiting: Sequence[ScoredTask], taken: Sequence[TakenTask], views: Mapping[str, FrameView]) -> None:
        settings = self._query
        candidates, held = query_input(waiting, taken, views, settings.labelling_cost, self.generation, settings.plan.tag_keys)
        budget_s = None if settings.budget is None else settings.budget.total_seconds()
        found = asked(candidates, held, settings.plan, settings.picked, self._rng, budget_s)
        picked = [waiting[index].frame_id for index in found.picks.tolist()]
        frame_ids = [*(task.frame_id for task in taken), *(task.frame_id for task in waiting)]
        folded = {waiting[i].frame_id: frame_ids[row] for i, row in enumerate(found.under.tolist()) if row >= 0}
        if budget_s is not None and (first_s := candidates.seconds[found.picks[:1]].sum()) > budget_s:
            log.warning("budget_below_a_frame frame=%s frame_s=%g budget_s=%g", picked[0], first_s, budget_s)
        ranked = self._store.ranking.write_ranks(
            self._queue,
            picked,
            folded=folded,
            now=self._clock(),
            generation=self.generation,
            lead=self._lead_held(),
        )
        # a query that its limits end before refill_below would be due again at once: so it is when what it ranked runs out,
        # which it has where all of it was leased meanwhile
        limited = len(picked) < len(waiting)
        self._refill_below = min(settings.refill_below, max(ranked, 1)) if limited else settings.refill_below
