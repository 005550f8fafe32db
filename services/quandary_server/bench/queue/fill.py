"""Stores full of ranked tasks, in minutes where the intake would take hours."""

from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import create_engine, insert, text

from quandary import FrameRecord, convert
from quandary_server.bench.progress import Told
from quandary_server.leasing.order import Place, PriorityBand
from quandary_server.leasing.status import TaskState
from quandary_server.simulator.camera import camera_calibration
from quandary_server.storage.columns import to_json
from quandary_server.storage.opening import url_of
from quandary_server.storage.schema import frames, tasks
from quandary_server.storage.task_values import ACTIVE_QUEUE

BATCH = 10_000
FRAMES_PER_DRIVE = 100
GENERATION = "g000001-00000000"
START = datetime(2026, 1, 1, tzinfo=UTC)


def frame_id_of(rank: int) -> str:
    """Return the frame that has this rank."""
    return f"f{rank:08d}"


def rank_of(frame_id: str) -> int:
    """Return the rank of a frame."""
    return int(frame_id[1:])


def fill(place: str, count: int, told: Told) -> None:
    """Write `count` waiting tasks of rank 0, 1, ... into an empty store: small records, no FrameScores."""
    record = convert.record_message(FrameRecord("f", "d", START, "file:///cloud.bin", camera_calibration()))
    engine = create_engine(url_of(place), json_serializer=to_json)
    try:
        for start in range(0, count, BATCH):
            told("filling a store", start, count)
            ranks = range(start, min(start + BATCH, count))
            with engine.begin() as connection:
                connection.execute(insert(frames), [_frame(rank, record) for rank in ranks])
                connection.execute(insert(tasks), [_task(rank, count) for rank in ranks])
        with engine.begin() as connection:
            connection.execute(text("ANALYZE"))
    finally:
        engine.dispose()


def _frame(rank: int, record: Any) -> dict[str, Any]:
    drive_id = f"d{rank // FRAMES_PER_DRIVE:06d}"
    record.frame_id, record.drive_id = frame_id_of(rank), drive_id
    return {
        "frame_id": record.frame_id,
        "drive_id": drive_id,
        "stamp": START + timedelta(seconds=rank),
        "crops": 0,
        "tags": {},
        "record": record.SerializeToString(),
    }


def _task(rank: int, count: int) -> dict[str, Any]:
    place = Place(frame_id_of(rank), shuffle=0, score=1.0 - rank / count, rank=rank)
    return {
        "queue": ACTIVE_QUEUE,
        "frame_id": place.frame_id,
        "state": TaskState.WAITING,
        "pinned": False,
        "band": int(PriorityBand.ACTIVE_LEARNING),
        "rank": rank,
        "score": place.score,
        "generation": GENERATION,
        "shuffle": 0,
        "lease_key": place.key(),
        "enqueued": START,
        "failed_leases": 0,
        "closed_by": "",
        "skip_reason": "",
        "skip_comment": "",
    }
