"""A Kafka topic for what was rejected, with the reason in the headers."""

from collections.abc import Mapping, Sequence

from confluent_kafka import KafkaError

from quandary.errors import Unavailable
from quandary_server.storage.kafka_topic import FRAME_ID_HEADER
from quandary_server.storage.kafka_writer import Deliveries, Headers, producer_of
from quandary_server.storage.task_values import RejectedEntry

__all__ = ["KafkaDeadLetters"]

MAX_REASON_CHARACTERS = 2000


class KafkaDeadLetters:
    """Sends letters with their payload; headers say why (`reason`) and where from (`source`, `position`, `frame_id`).

    A payload that the topic does not take for its size is left out, which the header `omitted_bytes` tells.
    """

    def __init__(self, client: Mapping[str, str], topic: str) -> None:
        """Connect. Raises InvalidArgument for properties."""
        self._producer = producer_of(client)
        self._topic = topic

    def send(self, source: str, letters: Sequence[RejectedEntry]) -> None:
        """Send the letters of a source; they have arrived on return. Raises Unavailable."""
        by_position = {str(letter.position): letter for letter in letters}
        first = self._sent([(letter, letter.payload, _headers(source, letter)) for letter in letters])
        large = [by_position[position] for position, error in first.items() if error.code() == KafkaError.MSG_SIZE_TOO_LARGE]
        without = [(letter, b"", [*_headers(source, letter), ("omitted_bytes", str(len(letter.payload)))]) for letter in large]
        again = self._sent(without) if without else {}
        for error in (*again.values(), *(e for e in first.values() if e.code() != KafkaError.MSG_SIZE_TOO_LARGE)):
            raise Unavailable(f"the dead-letter topic {self._topic} cannot be written: {error.str()}")

    def _sent(self, letters: Sequence[tuple[RejectedEntry, bytes, Headers]]) -> dict[str, KafkaError]:
        """Return what failed, by position."""
        deliveries = Deliveries(self._producer)
        for letter, payload, headers in letters:
            deliveries.send(self._topic, letter.frame_id or str(letter.position), payload, headers)
        deliveries.finish()
        return {_position(message.headers()): error for message, error in deliveries.failed}


def _headers(source: str, letter: RejectedEntry) -> Headers:
    reason = letter.reason[:MAX_REASON_CHARACTERS]
    return [("reason", reason), ("source", source), ("position", str(letter.position)), (FRAME_ID_HEADER, letter.frame_id)]


def _position(headers: object) -> str:
    found = dict(headers) if isinstance(headers, list) else {}
    value = found.get("position", b"")
    return value.decode() if isinstance(value, bytes) else str(value)
