"""Callers of the scoring service, in a process of their own that reads a Spec from stdin and writes a Report to stdout.

They use the client as fleets do, with its way of backing off, and note every attempt that it makes.
"""

import asyncio
import json
import math
import random
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass, field
from datetime import timedelta
from functools import partial
from itertools import cycle
from typing import Any

import grpc

from quandary import AsyncScoringClient, Estimator, QuandaryError, ScoringOptions
from quandary_server.bench.frames import cropped_frame

PROCESS_GRACE_S = 60.0


@dataclass(frozen=True)
class Spec:
    """What is asked, how often and for how long.

    callers: each has one call at a time, and asks again when that is answered. rate: calls per second of all of them, each at
    even intervals, leaving out those that come while it waits; 0: at once. callers 0: calls come at random, so many per
    second, whatever becomes of those before. clients: among which all calls are dealt.
    """

    target: str
    token: str
    seconds: float
    callers: int = 0
    rate: float = 0.0
    clients: int = 1
    timeout_s: float = 30.0
    crops: int = 16
    estimator: Estimator = Estimator.ENSEMBLE_MC_DROPOUT
    seed: int = 0
    generation: str = ""


@dataclass
class Report:
    """What became of calls and of the attempts that they took, in seconds; refused: attempts by status."""

    seconds: float = 0.0
    calls: list[float] = field(default_factory=list)
    attempts: list[float] = field(default_factory=list)
    refused: Counter[str] = field(default_factory=Counter)
    failed: Counter[str] = field(default_factory=Counter)

    @property
    def per_second(self) -> float:
        """Calls answered a second."""
        return len(self.calls) / self.seconds


class _Observed(AsyncScoringClient):
    """A client whose attempts are noted."""

    report: Report

    def _use(self, channel: Any) -> None:
        super()._use(channel)
        stub: Any = self._scoring
        stub.ScoreFrames = self._noted(stub.ScoreFrames)

    def _noted(self, start: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        async def attempt(*arguments: Any, **options: Any) -> Any:
            begun = time.perf_counter()
            try:
                answer = await start(*arguments, **options)
            except grpc.RpcError as error:
                self.report.refused[error.code().name] += 1
                raise
            self.report.attempts.append(time.perf_counter() - begun)
            return answer

        return attempt


async def offer(spec: Spec) -> Report:
    """Offer the load and return what became of it."""
    report, frame = Report(), cropped_frame(spec.crops, spec.seed)
    options = ScoringOptions(spec.estimator, generation=spec.generation)
    timeout = timedelta(seconds=spec.timeout_s)
    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(_Observed(spec.target, token=spec.token)) for _ in range(spec.clients)]
        for client in clients:
            client.report = Report()
            await client.score_frames([frame], options)
            client.report = report
        begun, dealt = time.perf_counter(), cycle(clients)

        async def call(client: AsyncScoringClient | None = None) -> None:
            at = time.perf_counter()
            try:
                await (client or next(dealt)).score_frames([frame], options, timeout=timeout)
            except QuandaryError as error:
                report.failed[error.status] += 1
                return
            if time.perf_counter() - begun <= spec.seconds:
                report.calls.append(time.perf_counter() - at)

        if spec.callers:
            interval_s = spec.callers / spec.rate if spec.rate else 0.0
            offsets = [interval_s * k / spec.callers for k in range(spec.callers)]
            callers = [partial(call, client) for client, _ in zip(dealt, offsets, strict=False)]
            until = begun + spec.seconds
            await asyncio.gather(*(_again(c, begun + o, interval_s, until) for c, o in zip(callers, offsets, strict=True)))
        else:
            await _arrivals(call, spec, begun + spec.seconds)
    report.seconds = spec.seconds
    return report


async def _again(call: Callable[[], Awaitable[None]], first: float, interval_s: float, until: float) -> None:
    at = first
    while at < until:
        await asyncio.sleep(max(at - time.perf_counter(), 0.0))
        await call()
        at += interval_s
        late_s = time.perf_counter() - at
        if late_s > 0.0:
            at += math.ceil(late_s / interval_s) * interval_s if interval_s else late_s


async def _arrivals(call: Callable[[], Awaitable[None]], spec: Spec, until: float) -> None:
    rng, tasks = random.Random(spec.seed), set[asyncio.Future[None]]()
    at = time.perf_counter()
    while (at := at + rng.expovariate(spec.rate)) < until:
        await asyncio.sleep(at - time.perf_counter())
        tasks.add(task := asyncio.ensure_future(call()))
        task.add_done_callback(tasks.discard)
    await asyncio.gather(*tasks)


async def offered(spec: Spec) -> Report:
    """Have a process offer the load, and return its report."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", __name__, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    limit_s = spec.seconds + spec.timeout_s + PROCESS_GRACE_S
    out, _ = await asyncio.wait_for(process.communicate(json.dumps(asdict(spec)).encode()), limit_s)
    if process.returncode:
        raise RuntimeError(f"the load's process ended with {process.returncode}")
    found = json.loads(out)
    found |= {name: Counter(found[name]) for name in ("refused", "failed")}
    return Report(**found)


def main() -> None:
    """Offer the load on stdin, write the report to stdout."""
    spec = json.load(sys.stdin)
    report = asyncio.run(offer(Spec(**{**spec, "estimator": Estimator(spec["estimator"])})))
    json.dump(vars(report), sys.stdout)


if __name__ == "__main__":
    main()
