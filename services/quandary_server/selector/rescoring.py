"""Keeps the waiting tasks scored by the newest generation, and ranks them when they are."""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import numpy as np

from quandary import convert
from quandary.errors import Aborted, QuandaryError, Unavailable
from quandary.v1 import fleet_log_pb2
from quandary_server.selection.query import asked
from quandary_server.selector.frame_scores import FrameRefused, Scorer
from quandary_server.selector.frame_views import FrameView
from quandary_server.selector.pace import Pace
from quandary_server.selector.put_off import PutOff
from quandary_server.selector.query_input import query_input
from quandary_server.selector.viewer import Viewer
from quandary_server.settings import QuerySettings
from quandary_server.storage.elections import Lead
from quandary_server.storage.store import Store
from quandary_server.storage.task_values import ACTIVE_QUEUE, NewScore, RejectKind, ScoredTask, TakenTask, Task

ALONE = Lead("nothing", 0)
"""Of who was not elected, since nobody else is there."""

LOOK_AGAIN = timedelta(seconds=10)
"""How long nothing is looked for where all that is left cannot be scored now."""

PATIENCE = timedelta(minutes=2)
"""How long scoring may take for a frame before others have their turn."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Round:
    """Where a look around a queue is, by key; complete: it has been all around once."""

    after: bytes = b""
    complete: bool = False

    def behind(self, last: bytes | None) -> "Round":
        """Return the round behind a piece that ends at this key, None for the last one: it begins again."""
        return Round(b"", True) if last is None else replace(self, after=last)


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
        self._put_off = PutOff()
        self._came_back = False
        self._look_again: datetime | None = None
        self._round = Round()
        self._viewer = Viewer(store, self._score, query.plan, clock, pace.batch, query.budget is not None, queue)
        self._refill_below = query.refill_below
        self._lead: Lead | None = None
        self.generation = ""
        self.generation_seen: datetime | None = None
        self.ranked_generation = ""

    async def step(self, generation: str | None = None) -> bool:
        """Score the next batch, or rank if all is scored; return whether there was anything to do, and this one leads.

        generation: the current one, empty for none; None: asked for. While none answers, what was scored before is ranked on.
        """
        generation = await self._scorer.generation() if generation is None else generation
        if generation and generation != self.generation:
            log.info("generation_seen generation=%s", generation)
            self.generation, self.generation_seen = generation, self._clock()
            # one that was current before is ranked anew as well: what the other has scored is folded no more
            self._begin_anew()
        if not self._leads():
            return False

        try:
            return await (self._move_on() if generation else self._rank_meanwhile())
        except Aborted as error:
            log.warning("another_leads problem=%s", error)
            return False

    def _leads(self) -> bool:
        """Return whether this selector leads; who comes to lead ranks anew, whatever the one before had done."""
        lead = self._asked_lead()
        if lead is not None and lead != self._lead:
            self._begin_anew()
        self._lead = lead
        return lead is not None

    def _begin_anew(self) -> None:
        self.ranked_generation = ""
        self._put_off.clear()
        self._came_back, self._look_again, self._round = False, None, Round()

    async def _move_on(self) -> bool:
        behind = await asyncio.to_thread(self._behind)
        if not behind:
            return await self._rank()
        moved = await self._score_batch(behind)
        return await self._rank_meanwhile() or moved

    def _behind(self) -> list[Task]:
        """Return the next batch that the generation has not scored: what is leased first, then where the round is.

        A generation that is new, or a frame that comes back, is looked for all around the queue; after that each look is at
        two pieces.
        """
        now = self._clock()
        if self._put_off.come_back(now):
            self._came_back, self._look_again, self._round = True, None, Round()
        if self._look_again is not None and now < self._look_again:
            return []
        left, passed_over = self._look_around(now)
        # to pass over thousands that cannot be scored takes a while
        self._look_again = now + LOOK_AGAIN if passed_over and not left else None
        return left

    def _look_around(self, now: datetime) -> tuple[list[Task], bool]:
        """Return the next batch, and whether tasks that are put off were passed over for it."""
        front, front_ends = self._look(b"", now)
        left, passed_over = self._without_put_off(front)
        while not left and front_ends is not None:
            piece, last = self._look(self._round.after or front_ends, now)
            left, some = self._without_put_off(piece)
            passed_over |= some
            if left:
                break
            self._round = self._round.behind(last)
            if self._round.complete:
                break
        return left, passed_over

    def _look(self, after: bytes, now: datetime) -> tuple[Sequence[Task], bytes | None]:
        limit = self._pace.batch + len(self._put_off)
        piece = self._store.ranking.waiting_behind(self._queue, self.generation, limit=limit, now=now, after=after)
        return piece.tasks, piece.last

    def _without_put_off(self, found: Sequence[Task]) -> tuple[list[Task], bool]:
        left = [task for task in found if task.frame_id not in self._put_off]
        return left[: self._pace.batch], len(left) < len(found)

    async def _score_batch(self, behind: Sequence[Task]) -> bool:
        stuck = asyncio.Event()
        found = await asyncio.gather(*(self._score(task, stuck) for task in behind))
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
        if any(found) and self._came_back:
            self.ranked_generation, self._came_back = "", False  # ranked without what came back
        return any(found)

    async def _score(self, task: Task, stuck: asyncio.Event | None = None) -> tuple[str, NewScore] | None:
        """Return a task's new score and the generation that gave it; None if it cannot be scored: it keeps the one it has.

        stuck: set once scoring leaves a frame without an answer; the frames behind it are not asked for then.
        """
        async with self._slots:
            if stuck is not None and stuck.is_set():
                return None
            try:
                return await asyncio.wait_for(self._scored(task), PATIENCE.total_seconds())
            except TimeoutError:
                log.warning("task_not_rescored frame=%s problem=no answer within %s", task.frame_id, PATIENCE)
                self._put_off.a_while(task.frame_id, self._clock())
                if stuck is not None:
                    stuck.set()
            except (QuandaryError, FrameRefused) as error:
                log.warning("task_not_rescored frame=%s problem=%s", task.frame_id, error)
                if isinstance(error, Unavailable) or getattr(error, "kind", None) is RejectKind.CLOUD:
                    self._put_off.a_while(task.frame_id, self._clock())
                else:
                    self._put_off.until_cleared(task.frame_id)
            return None

    async def _scored(self, task: Task) -> tuple[str, NewScore] | None:
        scored = await self._scorer.score(convert.record(fleet_log_pb2.FrameRecord.FromString(task.record)))
        if scored is None:
            return None
        return scored.generation, NewScore(task.frame_id, scored.score, scored.frame_score)

    async def _rank(self) -> bool:
        """Run the query where the generation is new, or too few ranked tasks wait; return whether it ran."""
        if not await asyncio.to_thread(self._is_due):
            return False
        self.ranked_generation = ""  # if the ranks are not written to their end, a query is due again
        await self._run_query(self.generation)
        self.ranked_generation = self.generation
        return True

    async def _rank_meanwhile(self) -> bool:
        """Run the query on the scores there are, old ones among them, if all that was ranked is taken; return whether it ran.

        While others are scored, or scoring is away, labellers would be given near copies of what they have, by score alone.
        """
        before = await asyncio.to_thread(self._store.ranking.ranked_generation, self._queue)
        newest = self.generation or before
        if not newest or not await asyncio.to_thread(self._store.ranking.ranks_run_out, self._queue, 1, now=self._clock()):
            return False
        await self._run_query(newest, meanwhile=True)
        return True

    async def _run_query(self, newest: str, *, meanwhile: bool = False) -> None:
        """Run the query as of the newest generation; meanwhile: it has not scored all, and nothing is scored for the query."""
        waiting, taken = await asyncio.to_thread(self._viewer.tasks)

        views = await self._viewer.views(waiting, taken, newest, embed=not meanwhile)

        by_newest = not meanwhile and (not waiting or any(task.generation == newest for task in waiting))
        ranked = newest if by_newest else await asyncio.to_thread(self._store.ranking.ranked_generation, self._queue)
        await asyncio.to_thread(self._write_ranks, waiting, taken, views, newest, ranked)

    def _lead_held(self) -> Lead | None:
        return None if self._lead is ALONE else self._lead

    def _is_due(self) -> bool:
        new = self.ranked_generation != self.generation
        return new or self._store.ranking.ranks_run_out(self._queue, self._refill_below, now=self._clock())

    def _write_ranks(
        self,
        waiting: Sequence[ScoredTask],
        taken: Sequence[TakenTask],
        views: Mapping[str, FrameView],
        newest: str,
        ranked_generation: str,
    ) -> None:
        settings = self._query
        of_objects = self._viewer.of_objects if settings.plan.needs_objects else None
        candidates, held = query_input(
            waiting, taken, views, settings.labelling_cost, newest, settings.plan.tag_keys, of_objects
        )
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
            generation=ranked_generation,
            lead=self._lead_held(),
        )
        # a query that its limits end before refill_below would be due again at once: so it is when what it ranked runs out,
        # which it has where all of it was leased meanwhile
        limited = len(picked) < len(waiting)
        self._refill_below = min(settings.refill_below, max(ranked, 1)) if limited else settings.refill_below
