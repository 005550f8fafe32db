"""The queues that follow the generations: each is scored anew and ranked by its own query, all of them in turns."""

import asyncio
import logging
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Self

import numpy as np

from quandary.errors import Unavailable
from quandary_server.selector.frame_scores import Scorer
from quandary_server.selector.pace import Pace
from quandary_server.selector.rescoring import ALONE, Rescorer
from quandary_server.settings import SelectorSettings
from quandary_server.storage.elections import Lead
from quandary_server.storage.store import Store
from quandary_server.storage.task_values import ACTIVE_QUEUE, CONTROL_QUEUE

log = logging.getLogger(__name__)


class RankedQueues:
    """A rescorer for each queue but that of the control drives; they take turns, a batch or a query each."""

    def __init__(self, rescorers: Mapping[str, Rescorer], scorer: Scorer, pace: Pace) -> None:
        self._rescorers, self._scorer, self._pace = rescorers, scorer, pace

    @classmethod
    def of(
        cls,
        settings: SelectorSettings,
        store: Store,
        scorer: Scorer,
        clock: Callable[[], datetime],
        rescored: Callable[[str, int], None],
        pace: Pace,
        lead: Callable[[], Lead | None] = lambda: ALONE,
    ) -> Self:
        """Return those of the settings, which are made where they are missing, and of the store.

        A queue of the store that is not in the settings any more keeps its tasks: they are leased, and ranked as `active` is.
        """
        declared = [ACTIVE_QUEUE, *(queue.name for queue in settings.queues)]
        store.intake.declare(declared)
        left = [queue for queue in store.tasks.queues() if queue not in (*declared, CONTROL_QUEUE)]
        for queue in left:
            waiting = store.tasks.stats(queue, generation="", now=clock()).waiting
            log.warning("queue_not_in_settings queue=%s waiting=%d", queue, waiting)

        def rescorer(queue: str) -> Rescorer:
            # the plain seed for `active`, so that what it is asked hangs on no other queue
            seed = [settings.shuffle_seed, *(b"" if queue == ACTIVE_QUEUE else queue.encode())]
            rng = np.random.default_rng(seed)
            return Rescorer(store, scorer, settings.query_of(queue), clock, rescored, pace, rng, queue, lead)

        return cls({queue: rescorer(queue) for queue in (*declared, *left)}, scorer, pace)

    async def run(self) -> None:
        """Follow the generations until cancelled."""
        while True:
            if not await self.step():
                await asyncio.sleep(self._pace.poll.total_seconds())

    async def step(self) -> bool:
        """Let every queue score its next batch, or rank; return whether any had something to do."""
        generation = await self._scorer.generation()
        moved = False
        for queue, rescorer in self._rescorers.items():
            try:
                moved |= await rescorer.step(generation)
            except Unavailable as error:
                log.warning("store_away queue=%s problem=%s", queue, error)
        return moved

    def generation(self) -> str:
        """Return the newest generation seen."""
        return self._rescorers[ACTIVE_QUEUE].generation

    def generation_seen(self) -> datetime | None:
        """Return when the newest generation was first seen; None before the first."""
        return self._rescorers[ACTIVE_QUEUE].generation_seen
