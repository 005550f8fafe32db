"""What `quandary bench stream` measures, at sizes that take seconds."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import pytest

from quandary.errors import InvalidArgument
from quandary_server.bench.queue.selector_process import selector_process
from quandary_server.bench.scoring_process import ScoringProcess
from quandary_server.bench.stream.cost import frames_per_second, spent_ms
from quandary_server.bench.stream.measures import figures_beside
from quandary_server.bench.stream.memory import figures_of
from quandary_server.bench.stream.parts import StreamPart
from quandary_server.bench.stream.records import PROPOSALS, fill_log
from quandary_server.bench.stream.sizes import StreamSizes
from quandary_server.bench.stream.streaming import Look, answering_service, every, looks_at, streaming_settings
from quandary_server.clock import now
from quandary_server.selector.frame_views import frame_view
from quandary_server.storage.log_settings import LogKind
from quandary_server.storage.task_values import ACTIVE_QUEUE

TINY = StreamSizes(frames=96, warm_up=16, chunk=16, mcap_frames=16, parts=20, live=10, long=60, long_warm_up=20)


def looks(*frames: int, cpu_s: Sequence[float] = (), resident_mb: Sequence[float] = ()) -> list[Look]:
    zeros = [0.0] * len(frames)
    return [
        Look(count, cpu, resident, 2.0 * i)
        for i, (count, cpu, resident) in enumerate(zip(frames, cpu_s or zeros, resident_mb or zeros, strict=True))
    ]


def told_nothing(what: str, done: int, total: int) -> None:
    pass


def test_what_a_frame_took_lies_between_two_looks() -> None:
    found = looks(0, 100, 300, cpu_s=[5.0, 5.1, 5.7])
    assert spent_ms(found) == pytest.approx([1.0, 3.0])
    assert frames_per_second(found) == 75.0
    with pytest.raises(ValueError, match="two are needed"):
        spent_ms(found[:1])


def test_looks_are_thinned_behind_the_warm_up() -> None:
    found = looks(0, 64, 128, 192, 256, 320, 384)
    assert [look.frames for look in every(found, 100, 100)] == [128, 256, 384]


def test_growth_is_that_of_a_line_through_all_looks() -> None:
    steady = looks(0, 50_000, 100_000, cpu_s=[0, 100, 200], resident_mb=[100, 102, 104])
    figures = {figure.name: figure for figure in figures_of(steady)}
    assert figures["memory_slope_mb"].value == pytest.approx(4.0)
    assert figures["memory_slope_mb"].met
    assert figures["memory_end_mb"].value == pytest.approx(4.0)
    assert figures["long_ms"].value == pytest.approx(2.0)
    assert figures["long_ms_growth"].value == pytest.approx(1.0)

    bump = looks(0, 50_000, 100_000, cpu_s=[0, 100, 200], resident_mb=[100, 130, 100])
    assert {figure.name: figure.value for figure in figures_of(bump)}["memory_slope_mb"] == pytest.approx(0.0)


def test_sizes_are_scaled_within_bounds() -> None:
    assert StreamSizes().scaled(1.0) == StreamSizes()
    assert StreamSizes().scaled(0.1).long == 10_000
    assert StreamSizes().scaled(0.0001).chunk == 10
    with pytest.raises(InvalidArgument, match="scale"):
        StreamSizes().scaled(0.0)


@pytest.fixture(scope="module")
def scoring() -> Iterator[ScoringProcess]:
    """What answers, for all tests of this file."""
    with answering_service() as service:
        yield service


def test_all_that_is_streamed_waits_with_a_real_score(scoring: ScoringProcess) -> None:
    with streaming_settings(scoring.target, LogKind.MCAP) as settings:
        fill_log(settings, 24, 2_000, told_nothing)
        with selector_process(settings) as selector:
            seen = list(looks_at(settings, selector.pid, 24, told_nothing))
        with settings.open_store() as store:
            stats = store.tasks.stats(ACTIVE_QUEUE, generation=scoring.generations[-1], now=now())
            candidates = store.ranking.candidates(ACTIVE_QUEUE, now=now())
            scores = store.ranking.frame_scores(ACTIVE_QUEUE, [task.frame_id for task in candidates])
    assert seen[-1].frames == stats.waiting + stats.folded == len(candidates) == 24
    assert stats.behind == stats.rejected == 0
    assert len({task.score for task in candidates}) == 24
    views = [frame_view(score) for score in scores.values()]
    assert len(views) == 24
    assert all(len(view.objects) == PROPOSALS and view.embedding is not None for view in views)


def test_parts_are_measured_in_their_order_and_one_that_fails_is_told(scoring: ScoringProcess) -> None:
    failures: list[str] = []
    parts = [StreamPart.LIVE, StreamPart.STEPS, StreamPart.COST]
    figures = figures_beside(scoring.target, told_nothing, parts, TINY, lambda part, _: failures.append(part))
    assert not failures
    found = {figure.name: figure for figure in figures}
    assert found["selector_ms"].reach == "<= 3"
    assert found["selector_ms"].value > 0
    steps = [figure.value for name, figure in found.items() if name.startswith("step_")]
    assert found["steps_ms"].value == pytest.approx(sum(steps))
    assert found["lag_p99_ms"].value >= found["lag_p50_ms"].value > 0
    assert 1 <= found["frames_per_transaction"].value <= TINY.live
    assert next(iter(found)) == "selector_ms"

    none = replace(TINY, parts=0)
    assert figures_beside(scoring.target, told_nothing, [StreamPart.STEPS], none, lambda part, _: failures.append(part)) == []
    assert failures == ["steps"]
