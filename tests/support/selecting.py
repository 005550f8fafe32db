"""Selectors in processes of their own, which consume records that were scored upstream until they are killed."""

import asyncio
import logging
import multiprocessing
import os
import signal
import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from multiprocessing.process import BaseProcess
from pathlib import Path

from quandary import AsyncScoringClient, Calibration, FrameRecord, ScoringOptions, convert
from quandary.v1 import fleet_log_pb2
from quandary_server.clock import now
from quandary_server.selector.assignment import Assignment
from quandary_server.selector.consumer import Consumer
from quandary_server.selector.dead_letters import DeadLetters
from quandary_server.selector.frame_scores import FrameScorer
from quandary_server.selector.open_log import log_writer, open_log
from quandary_server.selector.pace import Pace
from quandary_server.selector.service import serve_selector
from quandary_server.settings import Settings, load_settings
from quandary_server.storage.frame_log import LogRecord
from quandary_server.storage.store import Store
from support.records import START
from support.tally import CountingTally
from support.waiting import wait_for

BATCH = 64
POISON_EVERY = 50

# Every task that is written, in the transaction that writes it: what counts is not the tasks, of which a frame has one at the
# most, but how often they were applied.
TRIGGERS = """
CREATE TABLE applications (frame_id TEXT, how TEXT);
CREATE TRIGGER added AFTER INSERT ON tasks BEGIN INSERT INTO applications VALUES (NEW.frame_id, 'added'); END;
CREATE TRIGGER changed AFTER UPDATE ON tasks BEGIN INSERT INTO applications VALUES (NEW.frame_id, 'changed'); END;
"""


class WrittenTally(CountingTally):
    """Writes down how many records were applied, for others to read."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path

    def applied(self, count: int) -> None:
        super().applied(count)
        self._path.write_text(str(self.counts["applied"]))


def scored_records(count: int, calibration: Calibration, drives: int = 40) -> list[LogRecord]:
    """Return small records that carry their score; every fiftieth lacks nearly everything."""
    found = []
    for i in range(count):
        frame_id, drive_id = f"f{i:06d}", f"drive-{i % drives}"
        if i % POISON_EVERY == POISON_EVERY - 1:
            poison = fleet_log_pb2.FrameRecord(frame_id=frame_id)
            found.append(LogRecord(frame_id, poison.SerializeToString(), drive_id))
            continue
        record = FrameRecord(frame_id, drive_id, START + timedelta(seconds=i), "mcap:?topic=none&time=0", calibration)
        message = convert.record_message(record)
        message.upstream_score.generation = "g000001-00000000"
        message.upstream_score.score.score = 0.5
        found.append(LogRecord(frame_id, message.SerializeToString(), drive_id))
    return found


def publish(settings: Settings, records: list[LogRecord]) -> None:
    """Publish the records as the settings say."""
    with log_writer(settings) as writer:
        for i in range(0, len(records), 1000):
            writer.append(records[i : i + 1000], now=now())


def consume(settings: Settings) -> None:
    """Consume for ever, as the selector does."""
    logging.disable(logging.CRITICAL)

    async def go() -> None:
        store = Store.open(settings.database)
        opened = open_log(settings, store, now, lambda _: None)
        client = AsyncScoringClient("127.0.0.1:1", token="nobody-asks")  # every record has its score
        scorer = FrameScorer(client, ScoringOptions(), lambda: None, lambda _: None)
        letters = DeadLetters(opened.dead_letters, store, now, lambda _: None) if opened.dead_letters else None
        pace = Pace(BATCH, 8, timedelta(milliseconds=20))
        assignment = Assignment(0.0, frozenset(), seed=0)
        tally = WrittenTally(settings.data / f"{settings.selector.member}.applied")
        consumer = Consumer(opened.frames, store, scorer, assignment, now, tally, pace, letters)
        await asyncio.gather(consumer.run(), *([letters.run(pace.poll)] if letters else []))

    asyncio.run(go())


def serve(settings: Settings) -> None:
    """Be the selector service, without its log."""
    logging.disable(logging.CRITICAL)
    asyncio.run(serve_selector(settings))


class Selectors:
    """Forks selectors off a process that has imported everything already (see conftest.py): a start takes milliseconds."""

    def __init__(self) -> None:
        self._context = multiprocessing.get_context("forkserver")
        self._running: list[BaseProcess] = []

    def start(self, settings: Settings) -> BaseProcess:
        process = self._context.Process(target=consume, args=(settings,), daemon=True)
        process.start()
        self._running.append(process)
        return process

    def kill(self, process: BaseProcess) -> None:
        assert process.pid is not None
        os.kill(process.pid, signal.SIGKILL)
        process.join(60)
        assert process.exitcode == -signal.SIGKILL

    @contextmanager
    def hanging(self, process: BaseProcess, ledger: "Ledger") -> Iterator[None]:
        """Stop a selector, wherever it is but for the moments in which nobody else could write to SQLite, and continue it."""
        assert process.pid is not None
        os.kill(process.pid, signal.SIGSTOP)
        while not ledger.can_be_written():
            os.kill(process.pid, signal.SIGCONT)
            os.sched_yield()
            os.kill(process.pid, signal.SIGSTOP)
        yield
        os.kill(process.pid, signal.SIGCONT)

    def stop(self) -> None:
        for process in self._running:
            if process.is_alive():
                self.kill(process)


class Ledger:
    """Looks into the store of the settings beside whoever writes it: what was applied how often."""

    def __init__(self, settings: Settings) -> None:
        self._store, self._path = Store.open(settings.database), settings.database
        self._connection = sqlite3.connect(settings.database, timeout=60)
        self._connection.executescript(TRIGGERS)

    def done(self) -> int:
        """Return how many records were applied or rejected."""
        query = "SELECT (SELECT max(rowid) FROM applications), (SELECT count(*) FROM rejected)"
        applied, rejected = self._connection.execute(query).fetchone()
        return (applied or 0) + int(rejected)

    def wait_for(self, count: int, seconds: float = 120.0) -> None:
        """Wait until so many records are done."""
        wait_for(lambda: self.done() >= count, seconds)

    def can_be_written(self) -> bool:
        """Return whether nobody holds the store's lock for longer than a write takes."""
        connection = sqlite3.connect(self._path, timeout=0.5, isolation_level=None)
        try:
            connection.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError:
            return False
        finally:
            connection.close()
        return True

    def applied(self) -> Counter[tuple[str, str]]:
        """Return how often each frame's task was added and changed."""
        return Counter(self._connection.execute("SELECT frame_id, how FROM applications").fetchall())

    def rejected(self) -> list[str]:
        """Return the frames of what was rejected, sorted."""
        return [frame for (frame,) in self._connection.execute("SELECT frame_id FROM rejected ORDER BY frame_id")]

    def offsets(self) -> dict[str, int]:
        """Return all offsets."""
        return dict(self._connection.execute("SELECT log, position FROM offsets").fetchall())

    def applied_by(self, settings: Settings) -> int:
        """Return how many records the member of these settings has said it applied."""
        path = settings.data / f"{settings.selector.member}.applied"
        return int(path.read_text() or 0) if path.exists() else 0

    def close(self) -> None:
        self._connection.close()
        self._store.close()


def file_settings(folder: Path, kind: str, **selector: object) -> Settings:
    """Return the settings of a Quandary in a folder with a log of this kind."""
    return load_settings(data=folder, selector={"log_kind": kind, "member_lasts": timedelta(seconds=2), **selector})
