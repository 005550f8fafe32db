"""Stores full of ranked tasks, in minutes where the intake would take hours."""

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg

from quandary import FrameRecord, convert
from quandary_server.bench.progress import Told
from quandary_server.leasing.order import Place
from quandary_server.leasing.status import TaskState
from quandary_server.simulator.camera import camera_calibration
from quandary_server.storage.opening import url_of
from quandary_server.storage.task_values import ACTIVE_QUEUE

BATCH = 10_000
FRAMES_PER_DRIVE = 100
GENERATION = "g000001-00000000"
START = datetime(2026, 1, 1, tzinfo=UTC)
TIME = "%Y-%m-%d %H:%M:%S.%f"
"""A time in UTC, as SQLite keeps it and a server takes it."""

FRAME = ["frame_id", "drive_id", "stamp", "crops", "tags", "record"]
TASK = [
    "queue",
    "frame_id",
    "state",
    "pinned",
    "band",
    "rank",
    "score",
    "generation",
    "shuffle",
    "lease_key",
    "enqueued",
    "failed_leases",
    "closed_by",
    "skip_reason",
    "skip_comment",
]


def frame_id_of(rank: int) -> str:
    """Return the frame that has this rank."""
    return f"f{rank:08d}"


def rank_of(frame_id: str) -> int:
    """Return the rank of a frame."""
    return int(frame_id[1:])


def fill(place: str, count: int, told: Told) -> None:
    """Write `count` waiting tasks of rank 0, 1, ... into an empty store: small records, no FrameScores."""
    url = url_of(place)
    record = _record(0)
    write = _into_file if url.get_backend_name() == "sqlite" else _to_server
    with write(place) as rows_of:
        for start in range(0, count, BATCH):
            told("filling a store", start, count)
            ranks = range(start, min(start + BATCH, count))
            rows_of("frames", FRAME, [_frame(rank, record) for rank in ranks])
            rows_of("tasks", TASK, [_task(rank, count) for rank in ranks])


Write = Callable[[str, Sequence[str], Sequence[tuple[Any, ...]]], None]
"""Writes rows of a table, given by these columns."""


@contextmanager
def _into_file(place: str) -> Iterator[Write]:
    connection = sqlite3.connect(url_of(place).database or "", isolation_level=None)
    connection.execute("PRAGMA synchronous=OFF")  # what a crash would lose is filled again
    connection.execute("PRAGMA cache_size=-65536")

    def write(table: str, columns: Sequence[str], rows: Sequence[tuple[Any, ...]]) -> None:
        connection.execute("BEGIN IMMEDIATE")
        places = ", ".join("?" * len(columns))
        connection.executemany(f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({places})", rows)
        connection.execute("COMMIT")

    try:
        yield write
        connection.execute("ANALYZE")
    finally:
        connection.close()


@contextmanager
def _to_server(place: str) -> Iterator[Write]:
    with psycopg.connect(place) as connection:

        def write(table: str, columns: Sequence[str], rows: Sequence[tuple[Any, ...]]) -> None:
            with connection.cursor() as cursor, cursor.copy(f"COPY {table} ({', '.join(columns)}) FROM STDIN") as copy:
                for row in rows:
                    copy.write_row(row)
            connection.commit()

        connection.execute("SET timezone = 'UTC'")
        yield write
        connection.execute("ANALYZE")


def _record(rank: int) -> bytes:
    found = convert.record_message(
        FrameRecord(frame_id_of(rank), _drive_of(rank), START, "file:///cloud.bin", camera_calibration())
    )
    return found.SerializeToString()


def _drive_of(rank: int) -> str:
    return f"d{rank // FRAMES_PER_DRIVE:06d}"


def _frame(rank: int, record: bytes) -> tuple[Any, ...]:
    """Return a frame's row; record: that of rank 0, whose ids have the same length."""
    frame_id, drive_id = frame_id_of(rank), _drive_of(rank)
    named = record.replace(frame_id_of(0).encode(), frame_id.encode()).replace(_drive_of(0).encode(), drive_id.encode())
    return frame_id, drive_id, f"{START + timedelta(seconds=rank):{TIME}}", 0, "{}", named


def _task(rank: int, count: int) -> tuple[Any, ...]:
    place = Place(frame_id_of(rank), shuffle=0, score=1.0 - rank / count, rank=rank)
    standing = (place.frame_id, TaskState.WAITING.value, False, int(place.band), place.rank_in_epoch, place.score)
    return ACTIVE_QUEUE, *standing, GENERATION, 0, place.key(), f"{START:{TIME}}", 0, "", "", ""
