"""Decides when a run starts, and carries it in a thread of its own."""

import logging
import threading
from collections.abc import Callable
from datetime import datetime, timedelta

from quandary.errors import WrongState
from quandary_server.registry.directory import Registry
from quandary_server.settings import Settings
from quandary_server.storage.label_values import LabelCounts
from quandary_server.storage.run_values import Run, RunTrigger
from quandary_server.storage.store import Store
from quandary_server.trainer.moves import Told, untold
from quandary_server.trainer.run import RunPlan, TrainingRun

log = logging.getLogger(__name__)

LOST_AFTER = timedelta(seconds=10)


class Scheduler:
    """Starts runs by call, and by itself when enough new labels are there. One run at a time.

    `ended` is called with every run that ended, `told` with what a run does to the pointer.
    """

    def __init__(
        self,
        store: Store,
        registry: Registry,
        settings: Settings,
        clock: Callable[[], datetime],
        ended: Callable[[Run], None],
        told: Told = untold,
    ) -> None:
        self._store, self._registry, self._settings = store, registry, settings
        self._clock, self._ended, self._told = clock, ended, told
        self._thread: threading.Thread | None = None

    def start(self, plan: RunPlan, trigger: RunTrigger, requester: str = "") -> Run:
        """Start a run; raises WrongState, naming it, while another is going on."""
        settings = {"members": plan.members, "steps": plan.steps, "seed": plan.seed, "promote": plan.promote}
        run = self._store.runs.create(trigger=trigger, requester=requester, settings=settings, now=self._clock())
        self._thread = threading.Thread(target=self._carry, args=(run, plan), name=run.id, daemon=True)
        self._thread.start()
        return run

    def plan(
        self, members: int | None = None, steps: int | None = None, seed: int | None = None, promote: bool | None = None
    ) -> RunPlan:
        """Return what to do in a run, the settings where nothing is asked for; the seed counts the runs."""
        trainer = self._settings.trainer
        runs = self._store.runs.list(page_size=1).items
        number = int(runs[0].id.rpartition("-")[2]) + 1 if runs else 1
        return RunPlan(
            members=trainer.members if members is None else members,
            steps=trainer.fit.steps if steps is None else steps,
            seed=number if seed is None else seed,
            promote=True if promote is None else promote,
        )

    def look(self) -> None:
        """Mark runs whose trainer died as failed; start one if enough new labels are there.

        The labels of a run whose trainer died are new again; after one that failed by itself further labels must come.
        """
        for run in self._store.runs.fail_interrupted(now=self._clock(), older_than=LOST_AFTER):
            log.warning("run_interrupted run=%s stage=%s", run.id, run.stage)
            self._ended(run)
        threshold = self._settings.trainer.new_crops
        if threshold and self.new_labels().crops >= threshold:
            try:
                self.start(self.plan(), RunTrigger.LABELS)
            except WrongState:
                # one is going on: the labels wait for the next look
                return

    def new_labels(self) -> LabelCounts:
        """Return the counts of the labels that no run has seen: one that failed has seen them, an interrupted one has not."""
        return self._store.labels.counts(newer_than=self._store.runs.newest_label_seen())

    def join(self, timeout: timedelta) -> None:
        """Wait for the run going on, if there is one."""
        if self._thread is not None:
            self._thread.join(timeout.total_seconds())

    def _carry(self, run: Run, plan: RunPlan) -> None:
        ended = TrainingRun(self._store, self._registry, self._settings, run, plan, self._clock, self._told).execute()
        log.info("run_ended run=%s state=%s generation=%s error=%s", ended.id, ended.state, ended.generation, ended.error)
        self._ended(ended)
