"""Jobs that one thread does together: those of one kind that wait at the same time.

A batch is open to more until a thread begins it, so whatever waits behind a busy thread is done as one, and nothing waits for
company but in a replica that is idle.
"""

import asyncio
import math
import threading
import time
from collections.abc import Callable, Hashable, Iterable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, Generic, NamedTuple, TypeVar

Asked = TypeVar("Asked")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Together(Generic[Asked, Result]):
    """Work that may be done together with other work of its kind.

    kind: what must be equal. crops: what is drawn for this, most: at once. compute: gives for each of what is asked, in their
    order, its result or its own error; one alone is a batch too.
    """

    kind: Hashable
    asked: Asked
    crops: int
    most: int
    compute: Callable[[Sequence[Asked]], Sequence[Result | Exception]]


@dataclass(frozen=True)
class BatchLimit:
    """What a batch has at most: jobs, crops, and seconds of work as far as is known (whole clouds take long to cut).

    window_s: how many seconds it waits for more while no thread works.
    """

    jobs: int
    crops: int
    window_s: float = 0.0
    work_s: float = math.inf


class Ran(NamedTuple, Generic[Result]):
    """What came of a job: its result, when a thread began it (time.monotonic()), the seconds that are its share, and how many
    jobs were done together.
    """

    result: Result
    begun: float
    took_s: float
    together: int


@dataclass(eq=False)
class Job:
    """Work that waits. work_s: the seconds it will take, as far as is known."""

    flow: Hashable
    work: Together[Any, Any]
    work_s: float
    done: asyncio.Future[Ran[Any]]
    batch: "Batch | None" = None


@dataclass(eq=False)
class Batch:
    """One job, and those that join it; lone where there is no limit."""

    jobs: list[Job]
    limit: BatchLimit | None
    handed_over: Future[Any] | None = None
    timer: asyncio.TimerHandle | None = None
    begun: float | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        for job in self.jobs:
            job.batch = self

    def join(self, job: Job) -> bool:
        """Take in another job, if it is of the kind, there is room, and no thread has begun."""
        if self.limit is None:
            return False
        with self._lock:
            if self.begun is not None or not self._fits(job, self.limit):
                return False
            self.jobs.append(job)
            job.batch = self
            return True

    def leave(self, job: Job) -> None:
        """Let go of a job that nobody waits for any more, if no thread has begun."""
        with self._lock:
            if self.begun is None:
                self.jobs.remove(job)
                job.batch = None

    @property
    def full(self) -> bool:
        """Whether nothing more can join."""
        return (
            self.limit is None or not self.jobs or len(self.jobs) >= self.limit.jobs or self._crops() >= self._most(self.limit)
        )

    def run(self) -> list[Any]:
        """Return what came of each job: Ran, or its error. Called in a thread; nothing joins or leaves from now on."""
        with self._lock:
            self.begun = begun = time.monotonic()
        if not self.jobs:
            return []
        results = self.jobs[0].work.compute([job.work.asked for job in self.jobs])
        took_s = time.monotonic() - begun
        return [
            result if isinstance(result, Exception) else Ran(result, begun, took_s * share, len(self.jobs))
            for result, share in zip(results, shares([job.work_s for job in self.jobs]), strict=True)
        ]

    def done_s(self, flow: Hashable, now: float) -> float:
        """Return the seconds spent on the jobs of a flow, none counted for more than it was to take."""
        if self.begun is None:
            return 0.0
        ours, all_s = (sum(job.work_s for job in jobs) for jobs in (self._of(flow), self.jobs))
        return min((now - self.begun) * ours / all_s, ours) if all_s else 0.0

    def _of(self, flow: Hashable) -> Iterable[Job]:
        return (job for job in self.jobs if job.flow == flow)

    def _fits(self, job: Job, limit: BatchLimit) -> bool:
        if not self.jobs or job.work.kind != self.jobs[0].work.kind:
            return False
        if len(self.jobs) >= limit.jobs or self._crops() + job.work.crops > self._most(limit):
            return False
        return sum(held.work_s for held in self.jobs) + job.work_s <= limit.work_s

    def _crops(self) -> int:
        return sum(job.work.crops for job in self.jobs)

    def _most(self, limit: BatchLimit) -> int:
        return min(limit.crops, self.jobs[0].work.most)


def alone(work: Callable[[], Result]) -> Together[None, Result]:
    """Return work that nothing else is done with."""
    return Together(object(), None, 0, 0, lambda _: [work()])


def shares(parts: Sequence[float]) -> list[float]:
    """Return what share of the whole each part is; equal ones where all are zero."""
    whole = sum(parts)
    return [part / whole for part in parts] if whole else [1.0 / len(parts)] * len(parts)
