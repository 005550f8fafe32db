"""Callers that hold each answer against what its generation has to answer: a process that is told a Spec and tells a Report."""

import asyncio
import json
import math
import subprocess
import sys
import time
from collections import Counter
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass, field
from datetime import timedelta
from itertools import count
from subprocess import PIPE
from types import TracebackType
from typing import Self

from quandary import AsyncScoringClient, QuandaryError
from quandary.frames import Frame
from quandary_server.allocation import collect_only_what_is_new
from quandary_server.bench.frames import cropped_frame
from quandary_server.bench.swap.expected import CROPS, FRAMES, OPTIONS, digest

CALLERS, CLIENTS = 4, 2
TIMEOUT = timedelta(seconds=30)
PROCESS_GRACE_S = 60.0
MESSAGE_AT_MOST = 300


@dataclass(frozen=True)
class Spec:
    """Calls a second, at even intervals; expected: digests of the right answers by generation."""

    target: str
    token: str
    rate: float
    expected: dict[str, list[str]]


@dataclass
class Report:
    """Of each answer when it was asked for (time.monotonic()), the seconds it took, and the generation it names.

    failed: calls by status and message. mixed: answers that are not, to the bit, those of the generation they name; unnamed:
    that name none of those that there are.
    """

    begun: list[float] = field(default_factory=list)
    took: list[float] = field(default_factory=list)
    named: list[str] = field(default_factory=list)
    failed: Counter[str] = field(default_factory=Counter)
    mixed: int = 0
    unnamed: int = 0


def frames() -> list[Frame]:
    """Return the frames that are asked for, in turns."""
    return [cropped_frame(CROPS, seed) for seed in range(FRAMES)]


class Caller:
    """Calls at even intervals of its own, leaving out those that come while it waits."""

    def __init__(self, client: AsyncScoringClient, spec: Spec, report: Report) -> None:
        self._client, self._spec, self._report = client, spec, report
        self._frames = frames()

    async def call_until(self, over: asyncio.Event, first: float, interval_s: float) -> None:
        """Call from `first` on, in time.monotonic(), until it is over."""
        at = first
        for turn in count():
            await asyncio.sleep(max(at - time.monotonic(), 0.0))
            if over.is_set():
                return
            await self._call(turn % len(self._frames))
            at += interval_s * max(math.ceil((time.monotonic() - at) / interval_s), 1)

    async def _call(self, which: int) -> None:
        begun, report = time.monotonic(), self._report
        try:
            answer = await self._client.score_frames([self._frames[which]], OPTIONS, timeout=TIMEOUT)
        except QuandaryError as error:
            report.failed[f"{error.status}: {error.message}"[:MESSAGE_AT_MOST]] += 1
            return
        report.begun.append(begun)
        report.took.append(time.monotonic() - begun)
        report.named.append(answer.generation)
        (result,) = answer.results
        if answer.generation not in self._spec.expected:
            report.unnamed += 1
        elif digest(result) != self._spec.expected[answer.generation][which]:
            report.mixed += 1


async def offer(spec: Spec, over: asyncio.Event) -> Report:
    """Offer the load until it is over, and return what came of it."""
    report = Report()
    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(AsyncScoringClient(spec.target, token=spec.token)) for _ in range(CLIENTS)]
        interval_s, now = CALLERS / spec.rate, time.monotonic()
        callers = [Caller(clients[k % CLIENTS], spec, report) for k in range(CALLERS)]
        starts = [now + interval_s * k / CALLERS for k in range(CALLERS)]
        await asyncio.gather(*(c.call_until(over, start, interval_s) for c, start in zip(callers, starts, strict=True)))
    return report


class CallersProcess:
    """A process that calls from the start of the body to its end; `report` is what came of it then."""

    report: Report

    def __init__(self, spec: Spec) -> None:
        self._spec = spec

    def __enter__(self) -> Self:
        self._process = subprocess.Popen([sys.executable, "-m", __name__], stdin=PIPE, stdout=PIPE, text=True)
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(asdict(self._spec)) + "\n")
        self._process.stdin.flush()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        try:
            found, _ = self._process.communicate(timeout=TIMEOUT.total_seconds() + PROCESS_GRACE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.communicate()
            raise
        if kind is None:
            if self._process.returncode:
                raise RuntimeError(f"the callers' process ended with {self._process.returncode}")
            values = json.loads(found)
            self.report = Report(**values | {"failed": Counter(values["failed"])})


async def _until_told() -> Report:
    """Offer the load on the first line of stdin until stdin ends."""
    spec, over = Spec(**json.loads(sys.stdin.readline())), asyncio.Event()
    collect_only_what_is_new()  # a collection here would be told as a slow answer

    async def wait() -> None:
        await asyncio.to_thread(sys.stdin.read)
        over.set()

    report, _ = await asyncio.gather(offer(spec, over), wait())
    return report


if __name__ == "__main__":
    json.dump(vars(asyncio.run(_until_told())), sys.stdout)
