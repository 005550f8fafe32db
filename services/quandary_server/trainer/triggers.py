"""What starts a run by itself: enough new labels, an interval, a drift of the live scores."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import numpy as np

from quandary_server.evaluation.drift import Drift, drift
from quandary_server.registry.directory import Registry
from quandary_server.registry.pointer import Pointer
from quandary_server.settings.trainer import DriftSettings, TrainerSettings
from quandary_server.storage.label_values import LabelCounts
from quandary_server.storage.run_values import Run, RunTrigger
from quandary_server.storage.store import Store

log = logging.getLogger(__name__)

DRIFT_OF = "drift_of"
"""Of a run's settings: the pointer's revision whose scores had drifted. A drift starts one run."""

PERMUTATION_SEED = 0


@dataclass(frozen=True)
class Cause:
    """Why a run is to start: in words too, and what it is to remember."""

    trigger: RunTrigger
    why: str
    settings: Mapping[str, Any] = field(default_factory=dict)


def due_by_labels(settings: TrainerSettings, labels: LabelCounts) -> Cause | None:
    """Return the cause where enough labels are new."""
    if not settings.new_crops or labels.crops < settings.new_crops:
        return None
    return Cause(RunTrigger.LABELS, f"{labels.crops} newly labelled crops, {settings.new_crops} start a run")


def due_by_interval(settings: TrainerSettings, labels: LabelCounts, last: Run | None, now: datetime) -> Cause | None:
    """Return the cause where the interval since the end of the last run is over and any labels are new.

    Before the first run there is nothing to count from: that one starts by labels or by a call. An end that lies further
    ahead than the interval is of a clock that was set back since: nobody knows how long ago it was.
    """
    if not settings.interval or not labels.crops or last is None or last.end_time is None:
        return None
    since = now - last.end_time
    if abs(since) < settings.interval:
        return None
    told = f"{_whole(since)} since {last.id}" if since > timedelta() else f"the clock was set back since {last.id} ended"
    return Cause(RunTrigger.INTERVAL, f"{told}, and {labels.crops} newly labelled crops")


class DriftWatch:
    """Looks at the live scores now and then, and tells when they have drifted from those after the promotion.

    A drift starts a run once, whichever trainer sees it first and however often that restarts: the run remembers of which
    promotion it was. Without new labels it waits for some.
    """

    def __init__(self, store: Store, registry: Registry, settings: DriftSettings) -> None:
        self._store, self._registry, self._settings = store, registry, settings
        self._looked: datetime | None = None
        self.last: Drift | None = None

    def due(self, labels: LabelCounts, now: datetime) -> Cause | None:
        """Return the cause where the scores have drifted, labels are new, and this drift has started no run yet."""
        # a clock that was set back does not keep it from looking
        if not self._settings.psi or (self._looked is not None and abs(now - self._looked) < self._settings.every):
            return None
        self._looked = now
        pointer = self._registry.pointer()
        self.last = None if pointer is None else self.measure(pointer)
        if pointer is None or self.last is None or not self._far(self.last):
            return None
        told = self._store.runs.newest_of(RunTrigger.DRIFT)
        if told is not None and told.settings.get(DRIFT_OF) == pointer.revision:
            return None
        found = f"the live scores have drifted: PSI {self.last.psi:.2f} nats, p = {self.last.p_value:.3f}"
        if not labels.crops:
            log.warning("drift_without_labels generation=%s found=%r", pointer.generation, found)
            return None
        return Cause(RunTrigger.DRIFT, f"{found}; {labels.crops} newly labelled crops", {DRIFT_OF: pointer.revision})

    def measure(self, pointer: Pointer) -> Drift | None:
        """Return how far the scores of the last frames are from those of the first after a promotion; None for too few."""
        settings = self._settings
        first, last = self._store.live_scores.first_and_last(pointer.generation, since=pointer.moved, count=settings.frames)
        if len(last) < settings.frames or any(len(set(s.drives)) < settings.min_drives for s in (first, last)):
            return None
        rng = np.random.default_rng(PERMUTATION_SEED)
        return drift(np.array(first.scores), first.drives, np.array(last.scores), last.drives, rng)

    def _far(self, found: Drift) -> bool:
        return found.psi >= self._settings.psi and found.p_value <= self._settings.p_value


def first_cause(*asked: Callable[[], Cause | None]) -> Cause | None:
    """Return the first cause there is; those behind it are not asked for."""
    return next((cause for ask in asked if (cause := ask()) is not None), None)


def _whole(time: timedelta) -> timedelta:
    return timedelta(seconds=round(time.total_seconds()))
