"""Requests on their way through the compute threads: admitted or turned away, part by part in their turns, dropped in time."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Hashable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Generic, Protocol, TypeVar

from quandary.errors import DeadlineExceeded, Overloaded
from quandary_server.scoring.admission import Admission
from quandary_server.scoring.batch import Together
from quandary_server.scoring.compute import CALLS, Compute
from quandary_server.scoring.cost import CostModel, Load

Result = TypeVar("Result")


@dataclass(frozen=True)
class Part(Generic[Result]):
    """What of a request is computed in one go, by itself or together with others' parts.

    whole: whether a result took all of the load, and so its time tells the cost.
    """

    work: Callable[[], Result] | Together[Any, Result]
    load: Load
    whole: Callable[[Result], bool] = lambda _: True


@dataclass(frozen=True)
class Terms:
    """How a request stands.

    flow: a stream has one of its own, calls have one together. deadline: by time.monotonic(). returning: it was turned away
    before.
    """

    flow: Hashable = CALLS
    deadline: float | None = None
    returning: bool = False

    @property
    def kind(self) -> str:
        """`call` or `stream`."""
        return "call" if self.flow == CALLS else "stream"


class Observer(Protocol):
    """Is told what becomes of requests; `kind` is call or stream."""

    def arrived(self, kind: str, outcome: str) -> None:
        """Take note of one that was admitted or refused."""

    def begun(self, kind: str, waited_s: float, together: int) -> None:
        """Take note of one whose first turn came, and of how many were computed as one then."""

    def dropped(self, kind: str, cause: str) -> None:
        """Take note of one given up before its end: cancelled or deadline."""

    def unfinished(self, kind: str, work_s: float) -> None:
        """Take note of the seconds of work that are admitted and not done."""


@dataclass(eq=False)
class _Request:
    left_s: float
    part_s: float


class Schedule:
    """Runs requests. Calls are turned away where too much work waits; streams wait, since they read no further meanwhile."""

    def __init__(self, compute: Compute, admission: Admission, observer: Observer) -> None:
        self._compute, self._admission, self._observer = compute, admission, observer
        self.costs = CostModel()
        self._calls: set[_Request] = set()
        self._unfinished_s = {"call": 0.0, "stream": 0.0}

    async def run(self, parts: Sequence[Part[Result]], terms: Terms) -> list[Result]:
        """Return the result of each part. The next begins when the one before is done: others get their turns in between.

        Raises Overloaded at once where a call would wait too long, DeadlineExceeded when the deadline passes; what has not
        begun by then, or when the caller is cancelled, is never computed.
        """
        arrived = time.monotonic()
        work_s = [self.costs.seconds(part.load) for part in parts]
        request = _Request(sum(work_s), max(work_s, default=0.0))
        results: list[Result] = []
        with self._admitted(request, terms):
            async with _time_limit(terms.deadline, arrived):
                for part, seconds in zip(parts, work_s, strict=True):
                    ran = await self._compute.run(part.work, terms.flow, seconds)
                    if not results:
                        self._observer.begun(terms.kind, ran.begun - arrived, ran.together)
                    if part.whole(ran.result):
                        self.costs.learn(part.load, ran.took_s)
                    self._finish(request, seconds, terms.kind)
                    results.append(ran.result)
        return results

    @contextmanager
    def _admitted(self, request: _Request, terms: Terms) -> Iterator[None]:
        """Account for a request from its admission to its end; raises Overloaded."""
        kind = terms.kind
        if kind == "call":
            self._turn_away(request.left_s, terms)
            self._calls.add(request)
        self._observer.arrived(kind, "admitted")
        self._unfinished_s[kind] += request.left_s
        try:
            yield
        except (asyncio.CancelledError, DeadlineExceeded) as error:
            self._observer.dropped(kind, "deadline" if isinstance(error, DeadlineExceeded) else "cancelled")
            raise
        finally:
            self._calls.discard(request)
            self._finish(request, request.left_s, kind)

    def _finish(self, request: _Request, work_s: float, kind: str) -> None:
        request.left_s -= work_s
        self._unfinished_s[kind] -= work_s
        # sums of many small numbers do not end at zero
        self._observer.unfinished(kind, max(self._unfinished_s[kind], 0.0))

    def _turn_away(self, work_s: float, terms: Terms) -> None:
        wait_s = self._wait_s(work_s)
        retry_s = self._admission.retry_after(time.monotonic(), work_s, wait_s, returning=terms.returning)
        if retry_s is not None:
            self._observer.arrived(terms.kind, "refused")
            raise Overloaded(
                f"work of {wait_s:.3f} s waits before this call of {work_s:.3f} s; come back in {retry_s:.3f} s",
                retry_after=timedelta(seconds=retry_s),
            )

    def _wait_s(self, work_s: float) -> float:
        """Return the seconds that a call of so much work would wait: calls take turns by parts, and streams get their half."""
        ahead_s = sum(min(call.left_s, max(work_s, call.part_s)) for call in self._calls)
        share = 0.5 if self._compute.shared(CALLS) else 1.0
        return max(ahead_s - self._compute.done_s(CALLS), 0.0) / share / self._compute.threads


@asynccontextmanager
async def _time_limit(deadline: float | None, now: float) -> AsyncIterator[None]:
    """Raise DeadlineExceeded in what runs inside when the deadline passes."""
    late = DeadlineExceeded("the timeout passed before the frames were scored")
    if deadline is not None and deadline <= now:
        raise late
    try:
        async with asyncio.timeout(None if deadline is None else deadline - now) as limit:
            yield
    except TimeoutError:
        if limit.expired():
            raise late from None
        raise
