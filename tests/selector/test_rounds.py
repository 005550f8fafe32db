"""What another process left behind is found wherever it stands in a long queue, and looking for it reads a piece at a time."""

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import Any

import numpy as np
import pytest
from support.records import START

from quandary import Calibration, FrameRecord, convert
from quandary_server.selection.plan import Strategy
from quandary_server.selector.frame_scores import Scored
from quandary_server.selector.pace import Pace
from quandary_server.selector.rescoring import Rescorer
from quandary_server.settings import QuerySettings
from quandary_server.storage.looks import PIECE_ROWS
from quandary_server.storage.store import Store
from quandary_server.storage.task_values import TaskEntry

NOW = START + timedelta(hours=1)
PACE = Pace(batch=500, in_flight=500, poll=timedelta(milliseconds=10))
QUERY = QuerySettings(strategy=Strategy.TOP_K, gap=timedelta(), chance=0.0, class_floor=0.0, picked=2, refill_below=1)
FRAMES = 2 * PIECE_ROWS + 100


class Halving:
    """Scores frame f00042 as 1 / (2 + 42), by its generation."""

    def __init__(self) -> None:
        self.newest = "g2"
        self.scored = 0

    async def score(self, record: FrameRecord) -> Scored:
        self.scored += 1
        return Scored(1 / (2 + int(record.frame_id[1:])), self.newest, b"")

    async def generation(self) -> str:
        return self.newest


@pytest.fixture
def records(calibration: Calibration) -> Any:
    def entry(number: int, generation: str = "g1") -> TaskEntry:
        frame_id, score = f"f{number:05d}", 1 / (2 + number)
        record = FrameRecord(frame_id, "drive", START + timedelta(seconds=number), "file:///cloud.bin", calibration)
        payload = convert.record_message(record).SerializeToString()
        return TaskEntry(
            position=number + 1,
            queue="active",
            frame_id=frame_id,
            drive_id="drive",
            stamp=record.stamp,
            record=payload,
            crops=0,
            shuffle=0,
            score=score,
            generation=generation,
            frame_score=b"",
        )

    return entry


def settled(rescorer: Rescorer) -> int:
    """Let it go on until there is nothing to do; return in how many steps."""

    async def go() -> int:
        steps = 0
        while await rescorer.step():
            steps += 1
        return steps

    return asyncio.run(go())


def test_a_long_queue_is_scored_anew_as_a_whole_and_then_looked_at_piece_by_piece(store: Store, records: Any) -> None:
    entries = [records(number) for number in range(FRAMES)]
    store.intake.apply(entries, log="fleet", after=0, position=FRAMES, now=NOW)
    scorer, rng = Halving(), np.random.default_rng(0)
    rescorer = Rescorer(store, scorer, QUERY, lambda: NOW, lambda _queue, _count: None, PACE, rng)
    settled(rescorer)
    assert scorer.scored == FRAMES
    assert store.tasks.stats("active", generation="g2", now=NOW).behind == 0
    assert store.ranking.ranked_generation("active") == "g2"

    # by another selector, which knows the generation before: one in front, one at the end of the order
    late = [replace(records(FRAMES + 1), score=0.9), records(10**5 - 1)]
    store.intake.apply(late, log="fleet", after=FRAMES, position=10**5, now=NOW)
    assert asyncio.run(rescorer.step())
    assert store.tasks.get("active", late[0].frame_id, now=NOW).generation == "g2"
    looks = 0
    while store.tasks.get("active", late[1].frame_id, now=NOW).generation != "g2":
        asyncio.run(rescorer.step())
        looks += 1
    assert 1 <= looks <= -(-FRAMES // PIECE_ROWS) + 1
    assert scorer.scored == FRAMES + 2
