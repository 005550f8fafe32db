"""What the store knows of a run while it is carried: its stage, its heartbeat, its figures and its log."""

import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timedelta

from quandary.errors import QuandaryError
from quandary_server.storage.run_values import Run, RunStage, RunState, RunTaken
from quandary_server.storage.store import Store

log = logging.getLogger(__name__)

BEATS_PER_SILENCE = 5
"""Heartbeats in the time after which a silent trainer is taken for dead."""

MAX_ERROR_CHARACTERS = 500
SECONDS = "seconds_"


class TrainerStops(Exception):
    """The trainer is told to stop: the run is let go of, for the next one to go on with."""


class RunRecord:
    """The row and the log of one run, as its holder writes them.

    Every write raises RunTaken where the run is over (cancelled, say) or another trainer holds it, and TrainerStops after
    `stop`.
    """

    def __init__(self, store: Store, run: Run, clock: Callable[[], datetime]) -> None:
        self.run, self._store, self._clock = run, store, clock
        self._stopping = threading.Event()

    def stop(self) -> None:
        """Have the next write raise TrainerStops."""
        self._stopping.set()

    def update(self, **changes: object) -> None:
        """Change the run, or nothing but its heartbeat."""
        if self._stopping.is_set():
            raise TrainerStops
        run = self.run
        self.run = self._store.runs.update(run.id, now=self._clock(), holder=run.holder, **changes)  # type: ignore[arg-type]

    def measure(self, metrics: Mapping[str, float]) -> None:
        """Add figures to those there are."""
        self.update(metrics={**self.run.metrics, **metrics})

    def say(self, text: str) -> None:
        """Append a line to the run's log, and to the trainer's."""
        log.info("run_told run=%s text=%r", self.run.id, text)
        self._store.run_log.add(self.run.id, text, now=self._clock())

    @contextmanager
    def stage(self, stage: RunStage) -> Iterator[None]:
        """Be in a stage while the body runs; its seconds are added to those that attempts before took."""
        self.update(stage=stage, stage_progress=0.0)
        started, name = time.monotonic(), f"{SECONDS}{stage.value}"
        yield
        self.measure({name: self.run.metrics.get(name, 0.0) + time.monotonic() - started})

    def finish(self, state: RunState, error: str = "") -> Run:
        """End the run."""
        run = self.run
        ended = {"now": self._clock(), "holder": run.holder, "error": error[:MAX_ERROR_CHARACTERS], "metrics": run.metrics}
        self.run = self._store.runs.finish(run.id, state, **ended)  # type: ignore[arg-type]
        return self.run

    @contextmanager
    def heartbeat(self, silence: timedelta) -> Iterator[None]:
        """Tell the store that this trainer is alive while the body runs; silence: after which it is taken for dead."""
        over = threading.Event()

        def beat() -> None:
            while not over.wait(silence.total_seconds() / BEATS_PER_SILENCE):
                try:
                    self._store.runs.update(self.run.id, now=self._clock(), holder=self.run.holder)
                except RunTaken:
                    # whoever carries it is told at its next write
                    return
                except QuandaryError as error:
                    log.warning("heartbeat_failed run=%s problem=%s", self.run.id, error)

        thread = threading.Thread(target=beat, name="run-heartbeat", daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()
