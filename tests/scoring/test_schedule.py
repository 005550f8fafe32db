"""Requests in the schedule, with the compute thread held: nothing here depends on how long anything takes."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
from support.gates import Gate
from support.scoring import Told

from quandary.errors import DeadlineExceeded, Overloaded
from quandary.options import Estimator
from quandary_server.scoring.admission import Admission, QueueLimit
from quandary_server.scoring.batch import BatchLimit, Together
from quandary_server.scoring.compute import Compute
from quandary_server.scoring.cost import Load
from quandary_server.scoring.schedule import Part, Schedule, Terms

LOAD = Load(Estimator.SOFTMAX, frames=0, crops=1000, points=0, passes=1, samples=1)
HELD = Load(Estimator.SOFTMAX, frames=1, crops=0, points=0, passes=1, samples=1)


class Bench:
    """A schedule, and what ran in it."""

    def __init__(self, service_times: float = 2.0, batching: BatchLimit | None = None) -> None:
        self.told, self.compute = Told(), Compute(1, batching)
        self.schedule = Schedule(self.compute, Admission(QueueLimit(service_times, 0.0)), self.told)
        self.ran: list[str] = []

    def part(self, name: str, load: Load = LOAD) -> Part[None]:
        """A part whose time tells nothing, so that estimates stay those of the rule."""
        return Part(lambda: self.ran.append(name), load, lambda _: False)

    def start(self, name: str, terms: Terms, parts: int = 1) -> asyncio.Task[list[None]]:
        return asyncio.create_task(self.schedule.run([self.part(name) for _ in range(parts)], terms))

    @asynccontextmanager
    async def held(self) -> AsyncIterator[None]:
        """Hold the thread, by a stream's work, while the body runs."""
        gate = Gate()
        task = asyncio.create_task(self.schedule.run([Part(gate, HELD, lambda _: False)], Terms(flow="holder")))
        await asyncio.to_thread(gate.wait_until_begun)
        yield
        gate.open()
        await task


@pytest.fixture
def bench() -> Iterator[Bench]:
    made = Bench()
    yield made
    made.compute.close()


async def settled() -> None:
    """Let every task that can go on do so."""
    for _ in range(3):
        await asyncio.sleep(0)


def test_parts_run_in_order_and_others_get_their_turns_in_between(bench: Bench) -> None:
    async def main() -> None:
        async with bench.held():
            tasks = [bench.start("large", Terms(), parts=3)]
            await settled()
            tasks.append(bench.start("small", Terms()))
            await settled()
        await asyncio.gather(*tasks)

    asyncio.run(main())
    assert bench.ran == ["large", "small", "large", "large"]
    assert bench.told.arrivals == {("call", "admitted"): 2, ("stream", "admitted"): 1}
    assert bench.told.unfinished_s["call"] == pytest.approx(0.0, abs=1e-12)


def test_a_call_that_would_wait_too_long_is_refused_at_once_and_told_when_to_come(bench: Bench) -> None:
    """Streams compute meanwhile, so calls get half: with one waiting the next waits two service times, and a third too long."""

    async def main() -> None:
        async with bench.held():
            tasks = [bench.start(name, Terms()) for name in ("first", "second")]
            await settled()
            with pytest.raises(Overloaded, match=r"waits before this call of 0\.13\d s") as refused:
                await bench.schedule.run([bench.part("third")], Terms())
            assert refused.value.retry_after is not None
            assert refused.value.retry_after.total_seconds() == pytest.approx(3 * LOAD.rule_s, abs=1e-6)
        await asyncio.gather(*tasks)

    asyncio.run(main())
    assert bench.ran == ["first", "second"]
    assert bench.told.arrivals["call", "refused"] == 1


def test_small_calls_wait_for_a_part_of_a_large_one_and_not_for_all_of_it(bench: Bench) -> None:
    async def main() -> None:
        async with bench.held():
            large = bench.start("large", Terms(), parts=50)
            await settled()
            small = bench.start("small", Terms())
            await settled()
            assert not small.done()
        await asyncio.gather(small, large)

    asyncio.run(main())
    assert bench.ran.index("small") == 1


def test_streams_are_never_refused_and_never_keep_calls_out(bench: Bench) -> None:
    async def main() -> None:
        async with bench.held():
            streams = [bench.start("stream", Terms(flow="stream")) for _ in range(100)]
            await settled()
            call = bench.start("call", Terms())
            await settled()
            assert not call.done()
        await asyncio.gather(call, *streams)

    asyncio.run(main())
    assert bench.ran.index("call") <= 2
    assert bench.told.arrivals == {("stream", "admitted"): 101, ("call", "admitted"): 1}


def test_calls_never_keep_streams_out(bench: Bench) -> None:
    async def main() -> None:
        async with bench.held():
            calls = [bench.start("call", Terms()) for _ in range(2)]
            await settled()
            stream = bench.start("stream", Terms(flow="stream"))
            await settled()
        await asyncio.gather(stream, *calls)

    asyncio.run(main())
    assert bench.ran.index("stream") <= 2


@pytest.mark.parametrize("flow", ["calls", "a stream"])
def test_what_is_cancelled_is_not_computed(bench: Bench, flow: str) -> None:
    async def main() -> None:
        async with bench.held():
            task = bench.start("cancelled", Terms(flow=flow), parts=2)
            await settled()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        await bench.schedule.run([bench.part("next")], Terms())

    asyncio.run(main())
    assert bench.ran == ["next"]
    kind = "call" if flow == "calls" else "stream"
    assert bench.told.drops == {(kind, "cancelled"): 1}
    assert bench.told.unfinished_s[kind] == pytest.approx(0.0, abs=1e-12)


def test_the_rest_of_a_cancelled_request_is_not_computed(bench: Bench) -> None:
    gate = Gate()

    async def main() -> None:
        parts: list[Part[Any]] = [Part(gate, LOAD, lambda _: False), bench.part("rest")]
        task = asyncio.create_task(bench.schedule.run(parts, Terms()))
        await asyncio.to_thread(gate.wait_until_begun)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        gate.open()
        await bench.schedule.run([bench.part("next")], Terms())

    asyncio.run(main())
    assert bench.ran == ["next"]


def test_what_waits_past_its_deadline_is_not_computed(bench: Bench) -> None:
    async def main() -> None:
        async with bench.held():
            with pytest.raises(DeadlineExceeded):
                await bench.schedule.run([bench.part("late")], Terms(deadline=time.monotonic() + 0.01))
            with pytest.raises(DeadlineExceeded):
                await bench.schedule.run([bench.part("later")], Terms(deadline=time.monotonic() - 1.0))
        await bench.schedule.run([bench.part("next")], Terms(deadline=time.monotonic() + 60.0))

    asyncio.run(main())
    assert bench.ran == ["next"]
    assert bench.told.drops == {("call", "deadline"): 2}


def test_a_deadline_takes_one_out_of_a_batch_and_leaves_the_others_in_it() -> None:
    bench, batches = Bench(batching=BatchLimit(jobs=8, crops=8)), list[tuple[str, ...]]()

    def together(asked: Sequence[str]) -> list[str | Exception]:
        batches.append(tuple(asked))
        return [ValueError(name) if name == "wrong" else name for name in asked]

    def start(name: str, deadline: float | None = None) -> asyncio.Task[list[str]]:
        part = Part(Together("kind", name, 1, 8, together), LOAD, lambda _: False)
        return asyncio.create_task(bench.schedule.run([part], Terms(flow="stream", deadline=deadline)))

    async def main() -> None:
        async with bench.held():
            tasks = [start("first"), start("late", time.monotonic() + 0.05), start("wrong"), start("last")]
            with pytest.raises(DeadlineExceeded):
                await tasks[1]
        assert [await tasks[k] for k in (0, 3)] == [["first"], ["last"]]
        with pytest.raises(ValueError, match="wrong"):
            await tasks[2]

    asyncio.run(main())
    bench.compute.close()
    assert batches == [("first", "wrong", "last")]
    assert bench.told.drops == {("stream", "deadline"): 1}
    assert bench.told.unfinished_s["stream"] == pytest.approx(0.0, abs=1e-12)


def test_what_goes_wrong_in_the_work_is_told_and_leaves_nothing_behind(bench: Bench) -> None:
    def broken() -> None:
        raise TimeoutError("a disk, say")

    async def main() -> None:
        with pytest.raises(TimeoutError, match="a disk"):
            await bench.schedule.run([Part(broken, LOAD)], Terms(deadline=time.monotonic() + 60.0))
        await bench.schedule.run([bench.part("next")], Terms())

    asyncio.run(main())
    assert bench.ran == ["next"]
    assert bench.told.drops == {}
    assert bench.told.unfinished_s["call"] == pytest.approx(0.0, abs=1e-12)
