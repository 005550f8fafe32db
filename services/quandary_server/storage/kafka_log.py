"""A Kafka topic as the fleet log, read as a member of a consumer group; the offsets are the store's."""

import logging
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from quandary.errors import QuandaryError, Unavailable
from quandary_server.storage.frame_log import LogBatch, LogEntry, SourceLag
from quandary_server.storage.kafka_problems import ClientLog, Problems
from quandary_server.storage.kafka_topic import (
    TIMEOUT_S,
    Topic,
    entry_of,
    named_errors,
    opened,
    partition_of,
    topic_of,
)

__all__ = ["KafkaLog"]

events = logging.getLogger(__name__)

AT_ONCE = 200
POLL_S = 0.05
RETRY_S = 1.0
CONNECT_S = 5.0
"""For each try, since closing waits for it."""


@dataclass
class Buffer:
    """What was fetched of a partition that is ours.

    floor: the position behind which all is here that there is. start: where fetching began; later than that where Kafka let go
    of something. high: where Kafka says the partition ends. done: the position applied, which the group is to hear of.
    """

    floor: int
    start: int
    high: int = 0
    done: int | None = None
    waiting: deque[LogEntry] = field(default_factory=deque)
    paused: bool = False
    rewind_to: int | None = None
    problem: str = ""


class KafkaLog:
    """The partitions that the group gives to this member.

    A thread of its own polls all the time, so that the group does not take us for dead while a batch waits for scoring. It
    fills a buffer per partition, pauses the partition while that is full, and resumes it when half of it is gone. Reading
    starts where the store's offset is, whatever the group's says; the group is told afterwards, for those who look there.
    Only that thread calls the client: called from another, a commit has been seen to wait for ever.
    """

    def __init__(
        self,
        client: Mapping[str, str],
        topic: str,
        group: str,
        offset: Callable[[str], int],
        capacity: int,
        lost: Callable[[int], None],
    ) -> None:
        """Join the group, as soon as the topic can be reached.

        client: properties of the client. offset: the store's, by source. capacity: entries per partition. lost: called with
        how many entries Kafka had let go of before they were applied. Raises InvalidArgument for properties.
        """
        self._problems = Problems()
        options: dict[str, object] = {
            "partition.assignment.strategy": "cooperative-sticky",
            "isolation.level": "read_committed",
            **client,
            "group.id": group,
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            "auto.offset.reset": "error",
            "error_cb": self._problems.tell,
        }
        self._offset, self._capacity, self._lost = offset, capacity, lost
        self._lock = threading.Lock()
        self._buffers: dict[int, Buffer] = {}
        self._over = threading.Event()
        self._failure: Exception | None = None
        self._topic, self._away = Topic("", topic, ()), ""
        with opened("consumer", client):
            self._consumer = Consumer(options, logger=ClientLog(events))
        self._thread = threading.Thread(target=self._pump, name="kafka", daemon=True)
        self._thread.start()

    def sources(self) -> Sequence[str]:
        """Return the partitions that are ours now.

        Raises Unavailable while the topic cannot be reached for the first time, and what ended the polling, if anything did.
        """
        if self._failure is not None:
            raise self._failure
        if self._away:
            raise Unavailable(self._away)
        with self._lock:
            return tuple(self._topic.source(partition) for partition in sorted(self._buffers))

    def read(self, source: str, after: int, limit: int) -> LogBatch:
        """Return up to `limit` entries that have been fetched behind a position.

        Raises Unavailable for a partition whose topic is not the one that was read before.
        """
        with self._lock:
            buffer = self._buffers.get(partition_of(source))
            if buffer is None:  # the group gave it to another in the meantime
                return LogBatch((), after)
            if buffer.problem:
                raise Unavailable(buffer.problem)
            if after < buffer.floor:
                buffer.rewind_to = after  # the store is an older one
                return LogBatch((), after)
            while buffer.waiting and buffer.waiting[0].position <= after:
                buffer.waiting.popleft()
            buffer.floor = after
            entries = tuple(buffer.waiting)[:limit]
        return LogBatch(entries, entries[-1].position if entries else after)

    def committed(self, source: str, position: int) -> None:
        """Have the group told; where that fails it hears of a later position."""
        with self._lock:
            if (buffer := self._buffers.get(partition_of(source))) is not None:
                buffer.done = position

    def lags(self, offset: Callable[[str], int]) -> Sequence[SourceLag]:
        """Return how far the partitions that are ours are behind, by what Kafka told last."""
        with self._lock:
            ours = {p: (buffer.high, buffer.problem) for p, buffer in sorted(self._buffers.items())}
        found = []
        for partition, (high, problem) in ours.items():
            source = self._topic.source(partition)
            applied = offset(source)
            found.append(SourceLag(source, str(partition), applied, max(high - applied, 0), problem=problem))
        return found

    def tail(self, count: int) -> Sequence[LogEntry]:
        """Return what is buffered last."""
        with self._lock:
            found = [entry for buffer in self._buffers.values() for entry in buffer.waiting]
        return sorted(found, key=lambda entry: entry.appended)[-count:]

    def close(self) -> None:
        """Leave the group."""
        self._over.set()
        self._thread.join()
        self._consumer.close()

    def _pump(self) -> None:
        try:
            self._connect()
            while not self._over.is_set():
                self._rewind()
                for message in self._consumer.consume(AT_ONCE, POLL_S):
                    self._take(message)
                self._hold_back()
                self._tell()
        except Exception as error:
            # whoever reads ends with it, and the service is started anew
            self._failure = error

    def _connect(self) -> None:
        """Find the topic and subscribe, waiting for brokers and topic as long as it takes: labellers need none of them."""
        while not self._over.is_set():
            try:
                self._topic, self._away = topic_of(self._consumer, self._topic.name, CONNECT_S), ""
            except Unavailable as error:
                self._away = str(error)
                self._over.wait(RETRY_S)
            else:
                hear = {"on_assign": self._assigned, "on_revoke": self._revoked, "on_lost": self._revoked}
                self._consumer.subscribe([self._topic.name], **hear)
                return

    def _take(self, message: Message) -> None:
        error = message.error()
        if error is not None:
            if error.code() == KafkaError._AUTO_OFFSET_RESET:
                self._start_anew(message.partition())
            else:
                self._problems.tell(error)
            return
        with self._lock:
            buffer = self._buffers.get(message.partition() or 0)
            if buffer is not None and buffer.rewind_to is None and not buffer.problem:
                buffer.waiting.append(entry_of(message))

    def _hold_back(self) -> None:
        with self._lock:
            full = {p: len(b.waiting) >= self._capacity for p, b in self._buffers.items() if not b.paused}
            low = [p for p, b in self._buffers.items() if b.paused and len(b.waiting) <= self._capacity // 2 and not b.problem]
            pausing = [partition for partition, is_full in full.items() if is_full]
            for partition in (*pausing, *low):
                self._buffers[partition].paused = partition in pausing
        if pausing:
            self._consumer.pause([TopicPartition(self._topic.name, partition) for partition in pausing])
        if low:
            self._consumer.resume([TopicPartition(self._topic.name, partition) for partition in low])

    def _tell(self) -> None:
        """Tell the group what was applied, and hear where partitions end."""
        with self._lock:
            done = {p: b.done for p, b in self._buffers.items() if b.done is not None}
            for partition, buffer in self._buffers.items():
                place = TopicPartition(self._topic.name, partition)
                buffer.high = max(self._consumer.get_watermark_offsets(place, cached=True)[1], buffer.high)
                buffer.done = None
        if done:
            places = [TopicPartition(self._topic.name, partition, position) for partition, position in done.items()]
            try:
                self._consumer.commit(offsets=places, asynchronous=True)
            except KafkaException as error:
                events.info("group_not_told topic=%s problem=%s", self._topic.name, error)

    def _rewind(self) -> None:
        with self._lock:
            wanted = {p: b.rewind_to for p, b in self._buffers.items() if b.rewind_to is not None}
        for partition, position in wanted.items():
            self._go_on_at(partition, Buffer(position, position, self._buffers[partition].high))

    def _start_anew(self, partition: int | None) -> None:
        """Go on where Kafka has something: it let go of what we were at."""
        with self._lock:
            buffer = self._buffers.get(partition) if partition is not None else None
        if partition is not None and buffer is not None:
            self._go_on_at(partition, self._start_of(partition, reached=max(buffer.start, buffer.floor)))

    def _go_on_at(self, partition: int, start: Buffer) -> None:
        """Assign a partition that is ours anew: seeking is refused while it is not being fetched."""
        place = TopicPartition(self._topic.name, partition, start.start)
        self._consumer.incremental_unassign([place])
        self._consumer.incremental_assign([place])
        with self._lock:
            self._buffers[partition] = start

    def _assigned(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        starts = {place.partition: self._start_of(place.partition) for place in partitions}
        with self._lock:
            self._buffers.update(starts)
        places = [TopicPartition(self._topic.name, partition, start.start) for partition, start in starts.items()]
        consumer.incremental_assign(places)
        if stopped := [place for place in places if starts[place.partition].problem]:
            consumer.pause(stopped)
        events.info("partitions_assigned topic=%s partitions=%s", self._topic.name, sorted(starts))

    def _revoked(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        with self._lock:
            for place in partitions:
                self._buffers.pop(place.partition, None)
        consumer.incremental_unassign(partitions)
        events.info("partitions_revoked topic=%s partitions=%s", self._topic.name, [p.partition for p in partitions])

    def _start_of(self, partition: int, reached: int = 0) -> Buffer:
        """Return an empty buffer at the position to go on behind, waiting for store and brokers as long as it takes.

        reached: a position behind which nothing is missing, if it is later than the store's.
        """
        source = self._topic.source(partition)
        while True:
            try:
                applied = self._offset(source)
                with named_errors(f"partition {partition} of {self._topic.name}"):
                    place = TopicPartition(self._topic.name, partition)
                    low, high = self._consumer.get_watermark_offsets(place, timeout=TIMEOUT_S)
                break
            except QuandaryError as error:
                events.warning("partition_waits source=%s problem=%s", source, error)
                if self._over.wait(RETRY_S):
                    return Buffer(0, 0, problem="closed")
        if applied > high:
            problem = f"{source} was replaced by another: it ends at {high}, read was up to {applied}"
            return Buffer(applied, applied, high, paused=True, problem=problem)
        reached = max(reached, applied)
        if 0 < reached < low:
            events.error("entries_lost source=%s from=%d to=%d", source, reached, low)
            self._lost(low - reached)
        return Buffer(applied, max(reached, low), high)
