"""Where a frame's CPU goes in the selector: each of its steps by itself, one after the other, in this process."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from typing import TypeVar

from quandary import convert
from quandary.error_messages import result_score
from quandary.frames import Frame
from quandary.records import FrameRecord
from quandary.scoring import AsyncScoringClient
from quandary.v1 import fleet_log_pb2, scoring_pb2
from quandary_server.bench.figures import Figure, reported
from quandary_server.bench.progress import Told
from quandary_server.bench.stream.records import POINTS, fill_log
from quandary_server.bench.stream.sizes import StreamSizes
from quandary_server.bench.stream.streaming import streaming_settings
from quandary_server.clock import now
from quandary_server.selector.frame_scores import scored
from quandary_server.selector.scoring_token import ScoringToken
from quandary_server.settings import Settings
from quandary_server.storage.blobs import read_cloud
from quandary_server.storage.fleet_log import SqliteFleetLog
from quandary_server.storage.frame_log import LogEntry
from quandary_server.storage.log_settings import LogKind
from quandary_server.storage.task_values import ACTIVE_QUEUE, TaskEntry

Before = TypeVar("Before")
After = TypeVar("After")

UNIT = "ms of CPU per frame"


class Meter:
    """Milliseconds of this process's CPU per frame, by step."""

    def __init__(self, frames: int) -> None:
        self._frames = frames
        self.spent_ms: dict[str, float] = {}

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Measure what the body takes for all frames."""
        started = time.process_time()
        yield
        self.spent_ms[name] = (time.process_time() - started) / self._frames * 1e3

    def each(self, name: str, run: Callable[[Before], After], of: Sequence[Before]) -> list[After]:
        """Return what a step makes of each, and measure it."""
        with self.step(name):
            return [run(one) for one in of]


def step_figures(told: Told, sizes: StreamSizes, scoring: str) -> list[Figure]:
    """Return what each step of a frame takes, and their sum: what a selector takes beyond it are threads that hand over."""
    with streaming_settings(scoring, LogKind.SQLITE) as settings:
        fill_log(settings, sizes.parts, POINTS, told)
        told("steps of a frame", 0, 1)
        spent = asyncio.run(_spent(settings, sizes.parts))
    figures = [reported(f"step_{name}_ms", taken, UNIT) for name, taken in spent.items()]
    return [*figures, reported("steps_ms", sum(spent.values()), f"{UNIT}, all steps")]


async def _spent(settings: Settings, count: int) -> dict[str, float]:
    meter, batch = Meter(count), settings.selector.batch
    with closing(SqliteFleetLog.open(settings.fleet_log)) as fleet_log, settings.open_store() as store:
        (source,) = fleet_log.sources()
        with meter.step("log"):
            entries: list[LogEntry] = []
            while found := fleet_log.read(source, entries[-1].position if entries else 0, batch).entries:
                entries += found
        messages = meter.each("parse", lambda entry: fleet_log_pb2.FrameRecord.FromString(entry.payload), entries)
        records = meter.each("record", convert.record, messages)
        frames = _cropped(meter, records)

        async with AsyncScoringClient(settings.scoring_target, token=ScoringToken(settings)) as client:
            options = settings.selector.scoring_options()
            await client.score_frames(frames[:1], options)  # it connects, and scores what is answered ever after

            async def call(frame: Frame) -> scoring_pb2.ScoreFramesResponse:
                return await client.score_frames([frame], options)

            with meter.step("call"):
                answers = await _by_turns(call, frames, settings.selector.in_flight)

        scores = meter.each("answer", lambda a: scored(result_score(a.results[0]), a.generation), answers)
        tasks = [
            TaskEntry(
                position=entry.position,
                queue=ACTIVE_QUEUE,
                frame_id=record.frame_id,
                drive_id=record.drive_id,
                stamp=record.stamp,
                record=entry.payload,
                crops=len(record.proposals),
                shuffle=entry.position,
                score=score.score,
                generation=score.generation,
                frame_score=score.frame_score,
                tags=record.tags,
            )
            for entry, record, score in zip(entries, records, scores, strict=True)
        ]
        with meter.step("store"):
            for start in range(0, count, batch):
                part = tasks[start : start + batch]
                after, position = part[0].position - 1, part[-1].position
                store.intake.apply(part, log=source, after=after, position=position, now=now())
    return meter.spent_ms


def _cropped(meter: Meter, records: Sequence[FrameRecord]) -> list[Frame]:
    """Return the frames cropped; clouds are let go of one by one, as the selector does."""

    def cropped(record: FrameRecord) -> Frame:
        points = read_cloud(record.cloud_uri)
        return Frame(record.frame_id, record.calibration, record.proposals, points=points, drive_id=record.drive_id).lightest()

    meter.each("cloud", lambda record: len(read_cloud(record.cloud_uri)), records)
    frames = meter.each("crop", cropped, records)
    meter.spent_ms["crop"] -= meter.spent_ms["cloud"]
    return frames


async def _by_turns(call: Callable[[Before], Awaitable[After]], of: Sequence[Before], at_once: int) -> list[After]:
    slots = asyncio.Semaphore(at_once)

    async def turn(one: Before) -> After:
        async with slots:
            return await call(one)

    return await asyncio.gather(*map(turn, of))
