"""Decides when a run starts, and carries it in a thread of its own."""

import logging
import os
import secrets
import socket
import threading
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from quandary.errors import QuandaryError, WrongState
from quandary_server.registry.directory import Registry
from quandary_server.settings import Settings
from quandary_server.silence import Silence
from quandary_server.storage.label_values import LabelCounts
from quandary_server.storage.run_values import Run, RunState, RunTaken, RunTrigger
from quandary_server.storage.store import Store
from quandary_server.trainer.moves import Told, untold
from quandary_server.trainer.plan import RunPlan
from quandary_server.trainer.run import TrainingRun
from quandary_server.trainer.triggers import DriftWatch, due_by_interval, due_by_labels, first_cause

log = logging.getLogger(__name__)

STOP_GRACE = timedelta(seconds=3)


class Scheduler:
    """Starts runs by call, and by itself when labels, an interval or a drift say so; goes on with those whose trainer died.

    One run at a time, of all trainers of the store. `ended` is called with every run that ended here, `told` with
    what a run does to the pointer.
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
        self._drift = DriftWatch(store, registry, settings.trainer.drift)
        self._thread: threading.Thread | None = None
        self._going: TrainingRun | None = None
        self._silence = Silence(settings.trainer.lost_after)

    def start(self, plan: RunPlan, trigger: RunTrigger, requester: str = "") -> Run:
        """Start a run; raises WrongState, naming it, while another is going on."""
        return self._start(plan, trigger, f"called for by {requester or 'nobody named'}", requester=requester)

    def plan(
        self, members: int | None = None, steps: int | None = None, seed: int | None = None, promote: bool | None = None
    ) -> RunPlan:
        """Return what to do in a run, the settings where nothing is asked for; the seed counts the runs."""
        trainer = self._settings.trainer
        last = self._store.runs.newest()
        number = int(last.id.rpartition("-")[2]) + 1 if last else 1
        return RunPlan(
            members=trainer.members if members is None else members,
            steps=trainer.fit.steps if steps is None else steps,
            seed=number if seed is None else seed,
            promote=True if promote is None else promote,
        )

    def look(self) -> None:
        """Go on with the run whose trainer died, if there is one; start one where something says so.

        The labels of a run that is not resumed are new again; after one that failed by itself further labels must come.
        """
        if self.carrying:
            return
        last = self._store.runs.newest()
        if last is not None and last.state is RunState.RUNNING:
            last = self._resumed(last) or last
            if last.state is RunState.RUNNING:
                return
        labels, now, trainer = self.new_labels(), self._clock(), self._settings.trainer
        cause = first_cause(
            partial(due_by_labels, trainer, labels),
            partial(due_by_interval, trainer, labels, last, now),
            partial(self._drift.due, labels, now),
        )
        if cause is None:
            return
        try:
            # only if no run came since: another trainer may have seen the same
            self._start(self.plan(), cause.trigger, cause.why, after=last.id if last else "", remember=cause.settings)
        except WrongState as error:
            log.info("start_left_out cause=%r problem=%s", cause.why, error)

    @property
    def carrying(self) -> bool:
        """Whether a run goes on here."""
        return self._thread is not None and self._thread.is_alive()

    def new_labels(self) -> LabelCounts:
        """Return the counts of the labels that no run has seen: one that failed has seen them, an interrupted one has not."""
        return self._store.labels.counts(newer_than=self._store.runs.newest_label_seen())

    def drift_index(self) -> float | None:
        """Return the PSI of the live scores, in nats, as they were last looked at; None where there are too few."""
        return self._drift.last.psi if self._drift.last else None

    def cancel(self, run_id: str, by: str) -> Run:
        """End a run before its time, whichever trainer carries it. Raises NotFound, and WrongState as `Runs.cancel` does."""
        return self._store.runs.cancel(run_id, by=by, now=self._clock())

    def join(self, timeout: timedelta) -> None:
        """Wait for the run going on, if there is one."""
        if self._thread is not None:
            self._thread.join(timeout.total_seconds())

    def stop(self) -> None:
        """Let go of the run going on, for the next trainer to go on with at once."""
        if self._going is None or not self.carrying:
            return
        self._going.stop()
        self.join(STOP_GRACE)
        if self.carrying:
            run = self._going.run
            try:
                self._store.runs.release(run.id, holder=run.holder, now=self._clock())
            except RunTaken as error:
                log.info("run_not_released problem=%s", error)

    def _start(
        self,
        plan: RunPlan,
        trigger: RunTrigger,
        why: str,
        *,
        requester: str = "",
        after: str | None = None,
        remember: Mapping[str, Any] | None = None,
    ) -> Run:
        settings = plan.to_settings() | dict(remember or {})
        run = self._store.runs.create(
            trigger=trigger, requester=requester, settings=settings, holder=_holder(), after=after, now=self._clock()
        )
        self._store.run_log.add(run.id, f"started: {why}", now=self._clock())
        self._carry(TrainingRun(self._store, self._registry, self._settings, run, self._clock, self._told))
        return run

    def _resumed(self, going: Run) -> Run | None:
        """Go on with the run that goes on, where its trainer died, and return it; it may be over by that. None: it lives."""
        trainer, stopped = self._settings.trainer, self._silence.among({going.id: going.heartbeat}).get(going.id)
        how: dict[str, Any] = {"older_than": trainer.lost_after, "resumptions": trainer.resumptions, "stopped": stopped}
        run = self._store.runs.take_over(holder=_holder(), now=self._clock(), **how)
        if run is None:
            return None
        log.warning("run_interrupted run=%s stage=%s state=%s", run.id, run.stage, run.state)
        if run.state is RunState.RUNNING:
            self._carry(TrainingRun(self._store, self._registry, self._settings, run, self._clock, self._told, run.stage))
        else:
            self._ended(run)
        return run

    def _carry(self, going: TrainingRun) -> None:
        self._going = going
        self._thread = threading.Thread(target=self._execute, args=(going,), name=going.run.id, daemon=True)
        self._thread.start()

    def _execute(self, going: TrainingRun) -> None:
        try:
            run = going.execute()
        except QuandaryError as error:
            # the store, most likely: the run goes on once that can be reached, as after a crash
            log.error("run_dropped run=%s problem=%s", going.run.id, error)
            return
        if run.state is not RunState.RUNNING:
            log.info("run_ended run=%s state=%s generation=%s error=%s", run.id, run.state, run.generation, run.error)
            self._ended(run)


def _holder() -> str:
    """Return a name that tells who carries a run, another one at every attempt: of the same trainer too only one goes on."""
    return f"{socket.gethostname()}/{os.getpid()}/{secrets.token_hex(4)}"
