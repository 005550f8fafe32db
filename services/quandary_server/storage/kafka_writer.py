"""Publishes to a Kafka topic."""

import logging
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import partial

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from quandary.errors import Unavailable
from quandary_server.storage.frame_log import LogRecord
from quandary_server.storage.kafka_problems import ClientLog, Problems
from quandary_server.storage.kafka_topic import FRAME_ID_HEADER, opened, topic_of

__all__ = ["Deliveries", "KafkaLogWriter", "producer_of"]

events = logging.getLogger(__name__)

FLUSH_S = 60.0
MAX_MESSAGE_BYTES = 2**21
"""What our producers send at most: a record of 1 MiB with its headers. The brokers' own bound may be lower."""

Headers = list[tuple[str, str | bytes | None]]


class Deliveries:
    """Messages on their way. failed: what was not taken, by the number that its sender gave it."""

    def __init__(self, producer: Producer) -> None:
        self._producer = producer
        self.failed: dict[int, KafkaError] = {}

    def send(self, number: int, topic: str, key: str, value: bytes, headers: Headers) -> None:
        """Send a message, waiting for room where many are on their way."""
        while True:
            try:
                delivered = partial(self._delivered, number)
                self._producer.produce(topic, value=value, key=key, headers=headers, on_delivery=delivered)
                self._producer.poll(0)
                return
            except BufferError:
                self._producer.poll(1.0)
            except KafkaException as error:
                self.failed[number] = error.args[0]
                return

    def finish(self) -> None:
        """Wait until all have arrived or failed; raises Unavailable where that takes too long."""
        left = self._producer.flush(FLUSH_S)
        if left:
            raise Unavailable(f"{left} messages have not arrived after {FLUSH_S:.0f} s")

    def _delivered(self, number: int, error: KafkaError | None, message: Message) -> None:
        if error is not None:
            self.failed[number] = error


def producer_of(client: Mapping[str, str]) -> Producer:
    """Return a producer that repeats nothing and keeps the order. Raises InvalidArgument for properties."""
    options: dict[str, object] = {"message.max.bytes": MAX_MESSAGE_BYTES, "linger.ms": 5, **client}
    with opened("producer", client):
        return Producer({**options, "enable.idempotence": True, "error_cb": Problems().tell}, logger=ClientLog(events))


class KafkaLogWriter:
    """Records by drive: those of one drive are in one partition, in their order."""

    def __init__(self, client: Mapping[str, str], topic: str) -> None:
        """Connect. Raises Unavailable, InvalidArgument for properties."""
        self._producer = producer_of(client)
        self._topic = topic_of(self._producer, topic).name

    def append(self, records: Sequence[LogRecord], *, now: datetime) -> None:
        """Append records; all have arrived on return. Raises Unavailable where some have not, and names the first."""
        deliveries = Deliveries(self._producer)
        for number, record in enumerate(records):
            deliveries.send(number, self._topic, record.key, record.payload, [(FRAME_ID_HEADER, record.frame_id)])
        deliveries.finish()
        if deliveries.failed:
            number = min(deliveries.failed)
            first, error = records[number].frame_id, deliveries.failed[number]
            raise Unavailable(f"{len(deliveries.failed)} records were not taken, that of {first} first: {error.str()}")

    def close(self) -> None:
        """Wait for what is on its way."""
        self._producer.flush(FLUSH_S)
