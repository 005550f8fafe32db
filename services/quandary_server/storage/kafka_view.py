"""A Kafka topic to look at, without being a member of the group that reads it."""

import logging
from collections.abc import Callable, Mapping, Sequence

from confluent_kafka import Consumer, TopicPartition

from quandary.errors import Unavailable
from quandary_server.storage.frame_log import LogBatch, LogEntry, SourceLag
from quandary_server.storage.kafka_problems import ClientLog, Problems
from quandary_server.storage.kafka_topic import (
    TIMEOUT_S,
    entry_of,
    named_errors,
    opened,
    partition_of,
    topic_of,
)

__all__ = ["KafkaView"]

events = logging.getLogger(__name__)


class KafkaView:
    """All partitions of a topic as they are now."""

    def __init__(self, client: Mapping[str, str], topic: str) -> None:
        """Connect; raises Unavailable, InvalidArgument for properties."""
        options: dict[str, object] = {
            "isolation.level": "read_committed",
            **client,
            "group.id": "quandary-view",  # never joined: partitions are assigned by hand
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
            "error_cb": Problems().tell,
        }
        with opened("consumer", client):
            self._consumer = Consumer(options, logger=ClientLog(events))
        try:
            self._topic = topic_of(self._consumer, topic)
        except Unavailable:
            self._consumer.close()
            raise

    def sources(self) -> Sequence[str]:
        """Return all partitions."""
        return tuple(map(self._topic.source, self._topic.partitions))

    def read(self, source: str, after: int, limit: int) -> LogBatch:
        """Return up to `limit` entries behind a position, of those there are now. Raises Unavailable."""
        partition = partition_of(source)
        low, high = self._bounds(partition)
        found: list[LogEntry] = []
        with named_errors(f"partition {partition} of {self._topic.name}"):
            start = max(after, low)
            self._consumer.assign([TopicPartition(self._topic.name, partition, start)])
            # no more than there are: it waits until it has as many as it is asked for
            while (left := min(limit, high - start) - len(found)) > 0:
                messages = self._consumer.consume(left, TIMEOUT_S / 10)
                if not messages:
                    break  # what is left are marks of transactions
                found += [entry_of(message) for message in messages if message.error() is None]
            self._consumer.unassign()
        return LogBatch(tuple(found), found[-1].position if found else after)

    def committed(self, source: str, position: int) -> None:
        """Tell nobody."""

    def lags(self, offset: Callable[[str], int]) -> Sequence[SourceLag]:
        """Return how far each partition is behind. Raises Unavailable."""
        found = []
        for partition in self._topic.partitions:
            source = self._topic.source(partition)
            (low, high), applied = self._bounds(partition), offset(source)
            problem = f"it ends at {high}, read was up to {applied}: another topic" if applied > high else ""
            found.append(SourceLag(source, str(partition), applied, max(high - max(applied, low), 0), problem=problem))
        return found

    def tail(self, count: int) -> Sequence[LogEntry]:
        """Return the last entries of all partitions together, by time. Raises Unavailable."""
        found: list[LogEntry] = []
        for partition in self._topic.partitions:
            low, high = self._bounds(partition)
            found += self.read(self._topic.source(partition), max(high - count, low), count).entries
        return sorted(found, key=lambda entry: entry.appended)[-count:]

    def close(self) -> None:
        """Disconnect."""
        self._consumer.close()

    def _bounds(self, partition: int) -> tuple[int, int]:
        with named_errors(f"partition {partition} of {self._topic.name}"):
            place = TopicPartition(self._topic.name, partition)
            low, high = self._consumer.get_watermark_offsets(place, timeout=TIMEOUT_S)
        return low, high
