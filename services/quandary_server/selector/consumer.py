"""Consumes the fleet log: read, score, apply. Every record is applied exactly once."""

import asyncio
import logging
from collections.abc import Callable
from datetime import datetime

from google.protobuf.message import DecodeError

from quandary import convert
from quandary.errors import Aborted, InvalidArgument, QuandaryError, Unavailable
from quandary.records import FrameRecord
from quandary.v1 import fleet_log_pb2
from quandary_server.selector.assignment import Assignment
from quandary_server.selector.frame_scores import FrameRefused, Scored, Scorer, scored
from quandary_server.selector.pace import Pace
from quandary_server.storage.fleet_log import FleetLog, LogEntry
from quandary_server.storage.store import Store
from quandary_server.storage.task_values import CONTROL_QUEUE, RejectedEntry, TaskEntry

log = logging.getLogger(__name__)

Applied = Callable[[str, int], None]
"""Called with an outcome, applied or rejected, and how many records had it."""


class Consumer:
    """Applies a fleet log to the queues, batch by batch: the offset moves in the transaction that upserts the tasks."""

    def __init__(
        self,
        fleet_log: FleetLog,
        store: Store,
        scorer: Scorer,
        assignment: Assignment,
        clock: Callable[[], datetime],
        applied: Applied,
        pace: Pace,
    ) -> None:
        self._log, self._store, self._scorer, self._assignment = fleet_log, store, scorer, assignment
        self._clock, self._applied = clock, applied
        self._pace = pace
        self._slots = asyncio.Semaphore(pace.in_flight)

    async def run(self) -> None:
        """Consume until cancelled."""
        while True:
            try:
                moved = await self.step()
            except Aborted as error:
                # another selector was faster: go on behind what it applied
                log.warning("batch_taken_by_another problem=%s", error)
                moved = True
            except Unavailable as error:
                log.warning("log_or_store_away problem=%s", error)
                moved = False
            if not moved:
                await asyncio.sleep(self._pace.poll.total_seconds())

    async def step(self) -> bool:
        """Apply the next batch; return whether there was one."""
        after = await asyncio.to_thread(self._store.intake.offset, self._log.name)
        batch = await asyncio.to_thread(self._log.read, after, self._pace.batch)
        if not batch:
            return False

        entries = await asyncio.gather(*(self._prepare(entry) for entry in batch))

        await asyncio.to_thread(
            self._store.intake.apply,
            entries,
            log=self._log.name,
            after=after,
            position=batch[-1].position,
            now=self._clock(),
        )
        rejected = sum(isinstance(entry, RejectedEntry) for entry in entries)
        self._applied("rejected", rejected)
        self._applied("applied", len(entries) - rejected)
        return True

    def lag(self) -> int:
        """Return how many positions the log is ahead of the queues."""
        return max(self._log.end() - self._store.intake.offset(self._log.name), 0)

    async def _prepare(self, entry: LogEntry) -> TaskEntry | RejectedEntry:
        """Return the task of a log entry, or the entry as rejected with what is wrong with it."""
        async with self._slots:
            try:
                return await self._task(entry)
            except DecodeError:
                return RejectedEntry(entry.position, "the payload is no FrameRecord", entry.payload, entry.frame_id)
            except (QuandaryError, FrameRefused) as error:
                return RejectedEntry(entry.position, str(error), entry.payload, entry.frame_id)

    async def _task(self, entry: LogEntry) -> TaskEntry:
        message = fleet_log_pb2.FrameRecord.FromString(entry.payload)
        record = convert.record(message)
        queue = self._assignment.queue(record.drive_id)
        score = None if queue == CONTROL_QUEUE else await self._score(message, record)
        return TaskEntry(
            position=entry.position,
            queue=queue,
            frame_id=record.frame_id,
            drive_id=record.drive_id,
            stamp=record.stamp,
            record=entry.payload,
            crops=len(record.proposals),
            shuffle=self._assignment.shuffle(record.frame_id),
            score=score.score if score else None,
            generation=score.generation if score else "",
            frame_score=score.frame_score if score else None,
            tags=record.tags,
            ego_position_m=None if (pose := record.ego_pose) is None else (pose.x_m, pose.y_m, pose.z_m),
        )

    async def _score(self, message: fleet_log_pb2.FrameRecord, record: FrameRecord) -> Scored | None:
        """Return the score that came with the record, or a new one; None while there is no generation."""
        if not message.HasField("upstream_score"):
            return await self._scorer.score(record)
        upstream = message.upstream_score
        if not upstream.HasField("score"):
            raise InvalidArgument.of("upstream_score.score", "missing", "set")
        return scored(upstream.score, upstream.generation)
