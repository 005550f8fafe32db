"""What `quandary bench swap` holds answers against, and how it counts; without Ray, at sizes that take seconds."""

import asyncio
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.generations import SMALL, untrained
from support.scoring import LIMITS, ScoringService, register

from quandary.errors import InvalidArgument
from quandary_server.bench.swap.callers import Report, Spec, frames, offer
from quandary_server.bench.swap.delayed_service import DELAYS_S, delayed
from quandary_server.bench.swap.expected import expected_digests
from quandary_server.bench.swap.figures import Seen, ratios
from quandary_server.bench.swap.sizes import Sizes, Window
from quandary_server.bench.swap.windows import Swapper, Told
from quandary_server.registry.directory import Artefacts
from quandary_server.registry.place import RegistryPlace

TINY = Sizes(repeats=1, promotions=2, window_s=0.4)


@pytest.fixture
def service(tmp_path: Path, generation: Artefacts) -> Iterator[ScoringService]:
    running = ScoringService(tmp_path, generation)
    running.start()
    yield running
    running.stop()


def registered(service: ScoringService) -> list[str]:
    found = [register(service.registry, untrained(SMALL, 2, seed)) for seed in (0, 10, 20, 30)]
    service.promote(found[0])
    return found


def offered(service: ScoringService, expected: dict[str, list[str]], swapper: Swapper) -> Report:
    async def run() -> Report:
        over = asyncio.Event()
        calling = asyncio.create_task(offer(Spec(service.target, service.token, 40.0, expected), over))
        await asyncio.to_thread(swapper.windows, TINY, 0)
        over.set()
        return await calling

    return asyncio.run(run())


def test_every_answer_is_that_of_the_generation_it_names_through_promotions_and_a_rollback(service: ScoringService) -> None:
    generations = registered(service)
    expected = expected_digests(service.registry, generations, frames(), LIMITS)
    assert len({digest for digests in expected.values() for digest in digests}) == 12
    swapper = Swapper(service.registry, generations)
    report = offered(service, expected, swapper)
    swapper.end()
    assert (report.failed, report.mixed, report.unnamed) == (Counter(), 0, 0)
    assert set(report.named) == set(generations[:3])
    seen = Seen(report, swapper.told)
    assert seen.stale() == []
    assert [len(swapper.told.promoted_s), len(swapper.told.back_s)] == [2, 1]
    assert [window.swapping for window in swapper.told.windows] == [True, False]
    assert all(seen.answers(kind, swapper.told.windows)[0] for kind in (True, False))


def test_an_answer_of_another_generation_or_of_none_is_counted(service: ScoringService) -> None:
    first, second, *_ = generations = registered(service)
    expected = expected_digests(service.registry, generations, frames(), LIMITS)
    swapped = {first: expected[second], second: expected[second]}
    report = offered(service, swapped, Swapper(service.registry, generations))
    named = Counter(report.named)
    assert (report.mixed, report.unnamed) == (named[first], named[generations[2]])
    assert min(report.mixed, report.unnamed) > 0


def test_ratios_are_of_medians_over_windows_and_stale_answers_are_counted() -> None:
    windows = [Window(float(k), k + 1.0, swapping=k % 2 == 0) for k in range(6)]
    took = {0: [0.1, 0.3], 1: [0.1], 2: [0.2], 3: [0.2], 4: [9.0], 5: [0.1]}
    begun = [k + 0.5 for k, found in took.items() for _ in found]
    named = ["a", "a", "b", "b", "b", "b", "b"]
    report = Report(begun, [t for found in took.values() for t in found], named)
    seen = Seen(report, Told(windows, [(0.0, 0.7, "a"), (1.0, 3.0, "a"), (3.0, 9.0, "b")]))
    found = ratios(seen, max)
    assert found.samples == [(0.3, 0.1), (0.2, 0.2), (9.0, 0.1)]
    assert found.value == pytest.approx(3.0)
    assert seen.stale() == [(0.5, "a", "b"), (1.5, "a", "b")]


def test_replicas_get_delays_in_turns(tmp_path: Path) -> None:
    loads = [delayed(lambda generation, _: generation, RegistryPlace(tmp_path)) for _ in DELAYS_S]  # type: ignore[type-var]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["delay-0", "delay-1", "delay-2"]
    assert loads[0]("g", None) == "g"


def test_sizes_are_scaled_within_bounds() -> None:
    assert Sizes().scaled(1.0) == Sizes()
    assert (Sizes().scaled(0.2).repeats, Sizes().scaled(0.01).repeats) == (1, 1)
    assert Sizes().repeats * Sizes().promotions == 20
    with pytest.raises(InvalidArgument, match="scale"):
        Sizes().scaled(0.0)
