"""Consumes the fleet log: read, score, apply. Every record is applied exactly once."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from datetime import datetime
from functools import partial
from typing import Protocol

from google.protobuf.message import DecodeError

from quandary import convert
from quandary.errors import Aborted, InvalidArgument, QuandaryError, Unavailable
from quandary.records import FrameRecord
from quandary.v1 import fleet_log_pb2
from quandary_server.selector.assignment import Assignment
from quandary_server.selector.dead_letters import DeadLetters
from quandary_server.selector.frame_scores import FrameRefused, Scored, Scorer, scored
from quandary_server.selector.outages import Outages
from quandary_server.selector.pace import Pace
from quandary_server.storage.frame_log import MAX_PAYLOAD_BYTES, FrameLog, LogBatch, LogEntry, SourceLag
from quandary_server.storage.store import Store
from quandary_server.storage.task_values import CONTROL_QUEUE, RejectedEntry, RejectKind, TaskEntry

log = logging.getLogger(__name__)


class Tally(Protocol):
    """Hears what became of records."""

    def applied(self, count: int) -> None:
        """Hear how many were applied."""

    def rejected(self, kind: RejectKind, count: int) -> None:
        """Hear how many were rejected, for what kind of reason."""


class Consumer:
    """Applies a fleet log to the queues, batch by batch: the offset moves in the transaction that upserts the tasks.

    Sources take turns, a batch each.
    """

    def __init__(
        self,
        fleet_log: FrameLog,
        store: Store,
        scorer: Scorer,
        assignment: Assignment,
        clock: Callable[[], datetime],
        tally: Tally,
        pace: Pace,
        dead_letters: DeadLetters | None = None,
    ) -> None:
        self._log, self._store, self._scorer, self._assignment = fleet_log, store, scorer, assignment
        self._clock, self._tally = clock, tally
        self._pace, self._dead_letters = pace, dead_letters
        self._outages = Outages()
        self._slots = asyncio.Semaphore(pace.in_flight)

    async def run(self) -> None:
        """Consume until cancelled."""
        while True:
            try:
                moved = await self.step()
            except Unavailable as error:
                self._outages.tell("log_or_store_away", "", error)
                moved = False
            if not moved:
                await asyncio.sleep(self._pace.poll.total_seconds())

    async def step(self) -> bool:
        """Apply the next batch of every source; return whether there was one. What cannot be read holds up no other source."""
        moved = False
        sources = await asyncio.to_thread(self._log.sources)
        if self._dead_letters is not None:
            self._dead_letters.reads(sources)
        for source in sources:
            try:
                moved |= await self._advance(source)
            except Aborted as error:
                # another selector was faster: go on behind what it applied
                log.warning("batch_taken_by_another source=%s problem=%s", source, error)
                moved = True
            except Unavailable as error:
                self._outages.tell("log_or_store_away", source, error)
            except Exception as error:  # a fault of ours: its source waits, and neither labellers nor other sources go without
                self._outages.tell("source_broken", source, error, trace=True)
        return moved

    def lag(self) -> int:
        """Return how many records of the log are known to wait."""
        return sum(lag.waiting for lag in self.lags())

    def lags(self) -> Sequence[SourceLag]:
        """Return how far each source is behind."""
        return self._log.lags(self._store.intake.offset)

    async def _advance(self, source: str) -> bool:
        after = await asyncio.to_thread(self._store.intake.offset, source)
        batch = await asyncio.to_thread(self._log.read, source, after, self._pace.batch)

        if batch.position > after:
            entries = await self._prepare_all(batch)
            applied = await asyncio.to_thread(
                self._store.intake.apply, entries, log=source, after=after, position=batch.position, now=self._clock()
            )
            await asyncio.to_thread(self._log.committed, source, batch.position)
            self._tally.applied(len(entries) - applied.rejected)
            for kind, count in applied.kinds.items():
                self._tally.rejected(kind, count)
            if applied.rejected and self._dead_letters is not None:
                self._dead_letters.due(source)
        return batch.position > after

    async def _prepare_all(self, batch: LogBatch) -> list[TaskEntry | RejectedEntry]:
        preparing = [asyncio.ensure_future(self._prepare(entry)) for entry in batch.entries]
        try:
            return await asyncio.gather(*preparing)
        except BaseException:
            for one in preparing:
                one.cancel()
            raise

    async def _prepare(self, entry: LogEntry) -> TaskEntry | RejectedEntry:
        """Return the task of a log entry, or the entry as rejected with what is wrong with it."""
        kept = partial(RejectedEntry, entry.position, payload=entry.payload[:MAX_PAYLOAD_BYTES], frame_id=entry.frame_id)
        if entry.problem:
            return kept(entry.problem, kind=RejectKind.UNREADABLE)
        if len(entry.payload) > MAX_PAYLOAD_BYTES:
            return kept(f"the payload has {len(entry.payload)} bytes, at most {MAX_PAYLOAD_BYTES} are taken; kept is its start")
        async with self._slots:
            try:
                return await self._task(entry)
            except DecodeError:
                return kept("the payload is no FrameRecord", kind=RejectKind.UNDECODABLE)
            except FrameRefused as error:
                return kept(str(error), kind=error.kind)
            except Unavailable:
                raise  # no fault of the frame's: its source waits
            except QuandaryError as error:
                return kept(str(error))

    async def _task(self, entry: LogEntry) -> TaskEntry:
        message = fleet_log_pb2.FrameRecord.FromString(entry.payload)
        record = convert.record(message)
        queue = self._assignment.queue(record.drive_id, record.tags)
        score = None if queue == CONTROL_QUEUE else await self._score(message, record)
        return TaskEntry(
            position=entry.position,
            queue=queue,
            ranked_queue=self._assignment.ranked_queue(record.drive_id, record.tags),
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
