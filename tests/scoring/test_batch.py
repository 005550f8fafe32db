"""What is done together: the thread is held closed until everything waits, however long that takes."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager

import pytest
from support.gates import Gate

from quandary_server.scoring.batch import Batch, BatchLimit, Job, Ran, Together, shares
from quandary_server.scoring.compute import CALLS, Compute

LIMIT = BatchLimit(jobs=4, crops=10)
LONG_S = 3600.0


class Bench:
    """A compute thread that batches, and the batches that it did."""

    def __init__(self, limit: BatchLimit | None = LIMIT) -> None:
        self.compute, self.batches = Compute(1, limit), list[tuple[str, ...]]()

    def work(self, name: str, kind: str = "a", crops: int = 1, most: int = 100) -> Together[str, str]:
        return Together(kind, name, crops, most, self._together)

    def start(self, name: str, flow: str = CALLS, kind: str = "a", crops: int = 1, most: int = 100) -> asyncio.Task[Ran[str]]:
        return asyncio.create_task(self.compute.run(self.work(name, kind, crops, most), flow, 1.0))

    def _together(self, asked: Sequence[str]) -> list[str | Exception]:
        self.batches.append(tuple(asked))
        return [ValueError(name) if name.startswith("bad") else name.upper() for name in asked]

    @asynccontextmanager
    async def held(self) -> AsyncIterator[Gate]:
        """Hold the thread while the body runs."""
        gate = Gate()
        holder = asyncio.create_task(self.compute.run(gate, "holder", 0.0))
        await asyncio.to_thread(gate.wait_until_begun)
        yield gate
        gate.open()
        await holder


@pytest.fixture
def bench() -> Iterator[Bench]:
    made = Bench()
    yield made
    made.compute.close()


def run(main: Callable[[], object]) -> None:
    asyncio.run(main())  # type: ignore[arg-type]


def test_what_waits_is_done_as_one_and_each_gets_its_own(bench: Bench) -> None:
    async def main() -> None:
        async with bench.held():
            tasks = [bench.start(name) for name in ("x", "y", "z")]
            await asyncio.sleep(0)
        ran = await asyncio.gather(*tasks)
        assert [one.result for one in ran] == ["X", "Y", "Z"]
        # of one duration, shared by what each was to take
        assert len({one.began_and_took for one in map(_Told, ran)}) == 1

    run(main)
    assert bench.batches == [("x", "y", "z")]


class _Told:
    def __init__(self, ran: Ran[str]) -> None:
        self.began_and_took = ran.begun, ran.took_s


def test_nothing_waits_for_company_where_the_thread_is_free(bench: Bench) -> None:
    async def main() -> None:
        assert (await bench.start("x")).result == "X"
        assert (await bench.start("y")).result == "Y"

    run(main)
    assert bench.batches == [("x",), ("y",)]


def test_without_a_limit_each_is_done_by_itself() -> None:
    bench = Bench(limit=None)

    async def main() -> None:
        async with bench.held():
            tasks = [bench.start(name) for name in ("x", "y")]
            await asyncio.sleep(0)
        await asyncio.gather(*tasks)

    run(main)
    bench.compute.close()
    assert bench.batches == [("x",), ("y",)]


def test_kinds_never_mix_and_none_keeps_another_from_its_batch(bench: Bench) -> None:
    async def main() -> None:
        async with bench.held():
            kinds = [("a1", "a"), ("b1", "b"), ("a2", "a"), ("b2", "b"), ("c1", "c"), ("b3", "b")]
            tasks = [bench.start(name, kind=kind) for name, kind in kinds]
            await asyncio.sleep(0)
        await asyncio.gather(*tasks)

    run(main)
    assert bench.batches == [("a1", "a2"), ("b1", "b2", "b3"), ("c1",)]


def test_a_batch_has_room_for_so_many_jobs_and_crops(bench: Bench) -> None:
    async def main() -> None:
        async with bench.held():
            tasks = [bench.start(f"job{k}") for k in range(5)]
            await asyncio.sleep(0)
        await asyncio.gather(*tasks)
        async with bench.held():
            tasks = [bench.start(f"large{k}", crops=crops) for k, crops in enumerate((6, 5, 4, 100))]
            await asyncio.sleep(0)
        await asyncio.gather(*tasks)
        async with bench.held():
            tasks = [bench.start(f"many{k}", crops=2, most=5) for k in range(3)]
            await asyncio.sleep(0)
        await asyncio.gather(*tasks)

    run(main)
    assert bench.batches[:2] == [("job0", "job1", "job2", "job3"), ("job4",)]
    assert bench.batches[2:5] == [("large0", "large2"), ("large1",), ("large3",)]
    assert bench.batches[5:] == [("many0", "many1"), ("many2",)]


def test_what_takes_long_is_not_waited_for_by_many() -> None:
    bench = Bench(BatchLimit(jobs=4, crops=10, work_s=2.5))

    async def main() -> None:
        async with bench.held():
            # of a second each
            tasks = [bench.start(f"job{k}") for k in range(3)]
            await asyncio.sleep(0)
        await asyncio.gather(*tasks)

    run(main)
    bench.compute.close()
    assert bench.batches == [("job0", "job1"), ("job2",)]


def test_what_is_cancelled_leaves_its_batch_and_the_others_stay(bench: Bench) -> None:
    async def main() -> None:
        async with bench.held():
            tasks = [bench.start(name) for name in ("x", "late", "y")]
            await asyncio.sleep(0)
            tasks[1].cancel()
            with pytest.raises(asyncio.CancelledError):
                await tasks[1]
        assert [(await tasks[k]).result for k in (0, 2)] == ["X", "Y"]

    run(main)
    assert bench.batches == [("x", "y")]


def test_a_batch_that_all_have_left_computes_nothing_and_gives_its_place_back(bench: Bench) -> None:
    async def main() -> None:
        async with bench.held():
            tasks = [bench.start(name) for name in ("x", "y")]
            await asyncio.sleep(0)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            # a place in that batch is no place in another one
            tasks = [bench.start("z")]
            await asyncio.sleep(0)
        await tasks[0]
        assert not bench.compute.shared(CALLS)

    run(main)
    assert bench.batches == [("z",)]


def test_who_gives_up_while_it_is_computed_costs_the_others_nothing(bench: Bench) -> None:
    gate = Gate()

    def together(asked: Sequence[str]) -> list[str]:
        gate()
        return [name.upper() for name in asked]

    async def main() -> None:
        async with bench.held():
            asked = [Together("slow", name, 1, 10, together) for name in ("x", "y")]
            tasks = [asyncio.create_task(bench.compute.run(work, CALLS, 1.0)) for work in asked]
            await asyncio.sleep(0)
        await asyncio.to_thread(gate.wait_until_begun)
        tasks[0].cancel()
        with pytest.raises(asyncio.CancelledError):
            await tasks[0]
        gate.open()
        assert (await tasks[1]).result == "Y"

    run(main)


def test_the_error_of_one_is_its_own(bench: Bench) -> None:
    async def main() -> None:
        async with bench.held():
            tasks = [bench.start(name) for name in ("x", "bad", "y")]
            await asyncio.sleep(0)
        found = await asyncio.gather(*tasks, return_exceptions=True)
        assert [one.result for one in (found[0], found[2]) if isinstance(one, Ran)] == ["X", "Y"]
        assert isinstance(found[1], ValueError)

    run(main)
    assert bench.batches == [("x", "bad", "y")]


def test_what_fails_as_a_whole_fails_all_of_it_and_nothing_after(bench: Bench) -> None:
    def broken(asked: Sequence[str]) -> list[str]:
        raise ZeroDivisionError

    async def main() -> None:
        async with bench.held():
            works = [Together("broken", name, 1, 10, broken) for name in ("x", "y")]
            tasks = [asyncio.create_task(bench.compute.run(work, CALLS, 1.0)) for work in works]
            await asyncio.sleep(0)
        found = await asyncio.gather(*tasks, return_exceptions=True)
        assert [type(error) for error in found] == [ZeroDivisionError] * 2
        assert (await bench.start("next")).result == "NEXT"

    run(main)


def test_streams_and_calls_share_a_batch_and_their_turns_are_counted(bench: Bench) -> None:
    async def main() -> None:
        async with bench.held():
            tasks = [bench.start(f"s{k}", flow="stream") for k in range(8)] + [bench.start("call")]
            await asyncio.sleep(0)
            assert bench.compute.shared(CALLS)
        await asyncio.gather(*tasks)

    run(main)
    # the first four were handed over when nothing else was there; then the call's turn comes before the stream's
    assert bench.batches == [("s0", "s1", "s2", "s3"), ("call", "s4", "s5", "s6"), ("s7",)]


def test_an_idle_thread_waits_for_company_until_the_batch_is_full() -> None:
    bench = Bench(BatchLimit(jobs=3, crops=10, window_s=LONG_S))

    async def main() -> None:
        tasks = [bench.start(name) for name in ("x", "y")]
        await asyncio.sleep(0)
        assert not any(task.done() for task in tasks)
        tasks.append(bench.start("z"))
        await asyncio.gather(*tasks)

    run(main)
    bench.compute.close()
    assert bench.batches == [("x", "y", "z")]


def test_an_idle_thread_waits_no_longer_than_the_window() -> None:
    bench = Bench(BatchLimit(jobs=3, crops=10, window_s=0.001))

    async def main() -> None:
        assert (await bench.start("x")).result == "X"

    run(main)
    bench.compute.close()


def test_the_window_ends_when_work_of_others_waits() -> None:
    bench = Bench(BatchLimit(jobs=3, crops=10, window_s=LONG_S))

    async def main() -> None:
        gate = Gate()
        tasks = [bench.start("x")]
        await asyncio.sleep(0)
        holder = asyncio.create_task(bench.compute.run(gate, "holder", 0.0))
        await asyncio.to_thread(gate.wait_until_begun)
        # the thread is held and "x" gathers: a third finds no place
        tasks.append(bench.start("other", kind="b"))
        await asyncio.sleep(0)
        gate.open()
        await asyncio.gather(holder, *tasks)

    run(main)
    bench.compute.close()
    assert bench.batches == [("x",), ("other",)]


def test_what_gathers_ends_with_the_threads() -> None:
    bench = Bench(BatchLimit(jobs=3, crops=10, window_s=0.001))

    async def main() -> None:
        task = bench.start("x")
        await asyncio.sleep(0)
        bench.compute.close()
        with pytest.raises(asyncio.CancelledError):
            await task

    run(main)
    assert bench.batches == []


def test_progress_is_shared_by_what_each_was_to_take() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        works = [Together("a", name, 1, 10, lambda asked: list(asked)) for name in ("x", "y", "z")]
        jobs = [
            Job(flow, work, work_s, loop.create_future())
            for flow, work, work_s in zip(("calls", "calls", "stream"), works, (1.0, 2.0, 3.0), strict=True)
        ]
        batch = Batch(jobs[:1], LIMIT)
        assert all(batch.join(job) for job in jobs[1:])
        assert batch.done_s("calls", 100.0) == 0.0
        ran = batch.run()
        assert ran[2].took_s == pytest.approx(3 * ran[0].took_s)
        assert batch.begun is not None
        assert batch.done_s("calls", batch.begun + 1.0) == pytest.approx(0.5)
        assert batch.done_s("stream", batch.begun + 60.0) == 3.0
        assert not batch.join(Job("calls", works[0], 1.0, loop.create_future()))

    run(main)
    assert shares([1.0, 3.0]) == [0.25, 0.75]
    assert shares([0.0, 0.0]) == [0.5, 0.5]
