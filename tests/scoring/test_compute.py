"""Turns in the compute thread, which a test holds closed until everything waits."""

import asyncio
import gc
import threading
import weakref
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from functools import partial

import pytest
from support.gates import Gate

from quandary_server.scoring.compute import AHEAD, CALLS, Compute


@pytest.fixture
def compute() -> Iterator[Compute]:
    made = Compute()
    yield made
    made.close()


@asynccontextmanager
async def held(compute: Compute) -> AsyncIterator[Gate]:
    """Hold the thread while the body runs; then wait until it is free."""
    gate = Gate()
    holder = asyncio.create_task(compute.run(gate, "holder", 0.0))
    await asyncio.to_thread(gate.wait_until_begun)
    yield gate
    gate.open()
    assert (await holder).result == "opened"


def test_results_and_errors_come_back(compute: Compute) -> None:
    async def main() -> None:
        ran = await compute.run(lambda: threading.current_thread().name, CALLS, 1.0)
        assert ran.result != threading.current_thread().name
        with pytest.raises(ZeroDivisionError):
            await compute.run(lambda: 1 // 0, CALLS, 1.0)
        assert (await compute.run(lambda: 3, CALLS, 1.0)).result == 3

    asyncio.run(main())


def test_what_waits_is_never_run_once_its_caller_gives_up(compute: Compute) -> None:
    ran: list[int] = []

    async def main() -> None:
        async with held(compute):
            tasks = [asyncio.create_task(compute.run(partial(ran.append, n), "stream", 1.0)) for n in range(40)]
            await asyncio.sleep(0)
            for task in tasks[:39]:
                task.cancel()
            assert all(isinstance(e, asyncio.CancelledError) for e in await asyncio.gather(*tasks[:39], return_exceptions=True))
        await tasks[39]

    asyncio.run(main())
    assert ran == [39]


def test_what_runs_is_finished_and_its_place_given_back(compute: Compute) -> None:
    async def main() -> None:
        for _ in range(AHEAD + 3):
            gate = Gate()
            task = asyncio.create_task(compute.run(gate, CALLS, 1.0))
            await asyncio.to_thread(gate.wait_until_begun)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            gate.open()
        assert (await compute.run(lambda: "still here", CALLS, 1.0)).result == "still here"
        assert not compute.shared(CALLS)

    asyncio.run(main())


def test_calls_and_streams_take_turns(compute: Compute) -> None:
    order: list[str] = []

    async def main() -> None:
        async with held(compute):
            tasks = [asyncio.create_task(compute.run(lambda: order.append("stream"), "stream", 1.0)) for _ in range(8)]
            tasks += [asyncio.create_task(compute.run(lambda: order.append("call"), CALLS, 1.0)) for _ in range(4)]
            await asyncio.sleep(0)
            assert compute.shared(CALLS)
        await asyncio.gather(*tasks)

    asyncio.run(main())
    # the first AHEAD were handed over before any call came
    assert sorted(order[AHEAD : AHEAD + 8]) == ["call"] * 4 + ["stream"] * 4
    assert order[AHEAD + 8 :] == ["stream"] * (4 - AHEAD)


def test_what_is_being_done_counts_up_to_its_estimate(compute: Compute) -> None:
    async def main() -> None:
        assert compute.done_s(CALLS) == 0.0
        gate = Gate()
        task = asyncio.create_task(compute.run(gate, CALLS, 1e-9))
        await asyncio.to_thread(gate.wait_until_begun)
        assert compute.done_s(CALLS) == 1e-9
        assert compute.done_s("stream") == 0.0
        gate.open()
        await task
        assert compute.done_s(CALLS) == 0.0

    asyncio.run(main())


def test_what_was_worked_on_is_freed_at_once(compute: Compute) -> None:
    """Not by the garbage collector: a stream of frames would pile up between its rounds."""

    class Frame:
        pass

    async def main() -> list[bool]:
        frames = []
        for _ in range(5):
            frame = Frame()
            frames.append(weakref.ref(frame))
            await compute.run(partial(id, frame), "stream", 1.0)
            del frame
        return [frame() is None for frame in frames]

    gc.disable()
    try:
        assert asyncio.run(main()) == [True] * 5
    finally:
        gc.enable()
