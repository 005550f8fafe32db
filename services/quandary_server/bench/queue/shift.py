"""Labellers of one process under short leases: some vanish with a task, some answer when its lease has run out."""

import random
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import timedelta

from quandary.errors import StaleLease
from quandary.labels import FrameLabels
from quandary_server.clock import now
from quandary_server.storage.store import Store
from quandary_server.storage.task_values import ACTIVE_QUEUE, Task

LEASE = timedelta(seconds=1)
VANISH, LATE = 0.1, 0.1
NEVER_DEAD = 1_000_000
LOOK_EVERY_S = 0.05


@dataclass
class Report:
    """done: the frame of each answer that was taken, late ones too. vanished, late, late_taken: how many there were."""

    done: list[str] = field(default_factory=list)
    vanished: int = 0
    late: int = 0
    late_taken: int = 0


def open_store(place: str) -> Store:
    """Open a store whose tasks come back however often they expire."""
    return Store.open(place, max_failed_leases=NEVER_DEAD)


def work(place: str, holders: Sequence[str]) -> list[Report]:
    """Let these labellers work until everything is done."""
    with open_store(place) as store, ThreadPoolExecutor(len(holders)) as pool:
        return list(pool.map(lambda holder: Labeller(store, holder).work(), holders))


class Labeller:
    """One labeller, who draws what becomes of each task by a seed of his name."""

    def __init__(self, store: Store, holder: str) -> None:
        self._store, self._holder, self._rng = store, holder, random.Random(holder)
        self._late: list[Task] = []
        self.report = Report()

    def work(self) -> Report:
        """Lease and answer until all is done; late answers are given as soon as they are late."""
        while True:
            self._answer_late()
            found = self._store.leases.lease(ACTIVE_QUEUE, holder=self._holder, max_tasks=1, duration=LEASE, now=now())
            for task in found:
                self._decide(task)
            if not found:
                if not self._late and self._all_done():
                    return self.report
                threading.Event().wait(LOOK_EVERY_S)

    def _decide(self, task: Task) -> None:
        drawn = self._rng.random()
        if drawn < VANISH:
            self.report.vanished += 1
        elif drawn < VANISH + LATE:
            self._late.append(task)
        else:
            self._acknowledge(task)

    def _answer_late(self) -> None:
        due = [task for task in self._late if task.status.expired(now())]
        for task in due:
            self._late.remove(task)
            self.report.late += 1
            self.report.late_taken += self._acknowledge(task)

    def _acknowledge(self, task: Task) -> bool:
        """Hand in labels; return whether they were taken."""
        assert task.status.lease is not None
        token, labels = task.status.lease.token, FrameLabels(task.frame_id)
        try:
            self._store.leases.acknowledge(ACTIVE_QUEUE, task.frame_id, token, labels, subject=self._holder, now=now())
        except StaleLease:
            return False
        self.report.done.append(task.frame_id)
        return True

    def _all_done(self) -> bool:
        stats = self._store.tasks.stats(ACTIVE_QUEUE, generation="", now=now())
        return stats.waiting == stats.leased == 0
