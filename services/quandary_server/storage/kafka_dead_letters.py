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
        failed = self._sent([(letter.payload, letter, _headers(source, letter)) for letter in letters])
        large = [letters[n] for n, error in failed.items() if error.code() == KafkaError.MSG_SIZE_TOO_LARGE]
        others = [error for error in failed.values() if error.code() != KafkaError.MSG_SIZE_TOO_LARGE]
        omitted = [(letter, [*_headers(source, letter), ("omitted_bytes", str(len(letter.payload)))]) for letter in large]
        others += self._sent([(b"", letter, headers) for letter, headers in omitted]).values()
        if others:
            raise Unavailable(f"the dead-letter topic {self._topic} cannot be written: {others[0].str()}")

    def _sent(self, letters: Sequence[tuple[bytes, RejectedEntry, Headers]]) -> dict[int, KafkaError]:
        """Return what failed, by number."""
        deliveries = Deliveries(self._producer)
        for number, (payload, letter, headers) in enumerate(letters):
            deliveries.send(number, self._topic, letter.frame_id or str(letter.position), payload, headers)
        deliveries.finish()
        return deliveries.failed


def _headers(source: str, letter: RejectedEntry) -> Headers:
    reason = letter.reason[:MAX_REASON_CHARACTERS]
    return [("reason", reason), ("source", source), ("position", str(letter.position)), (FRAME_ID_HEADER, letter.frame_id)]
