"""A Kafka topic: its partitions as sources, its messages as entries."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer

from quandary.errors import InvalidArgument, Unavailable
from quandary_server.storage.frame_log import LogEntry, time_of

__all__ = ["FRAME_ID_HEADER", "TIMEOUT_S", "Topic", "entry_of", "named_errors", "opened", "topic_of"]

TIMEOUT_S = 15.0
FRAME_ID_HEADER = "frame_id"


@dataclass(frozen=True, slots=True)
class Topic:
    """A topic of a cluster. A position is a Kafka offset plus 1: what Kafka calls the committed offset."""

    cluster: str
    name: str
    partitions: tuple[int, ...]

    def source(self, partition: int) -> str:
        """Return what offsets call a partition."""
        return f"kafka/{self.cluster}/{self.name}/{partition}"


def partition_of(source: str) -> int:
    """Return the partition of a source."""
    return int(source.rpartition("/")[2])


def topic_of(client: Consumer | Producer, name: str, timeout_s: float | None = None) -> Topic:
    """Return a topic as the cluster knows it. Raises Unavailable where there is none, or no broker answers."""
    with named_errors(f"the topic {name}"):
        metadata = client.list_topics(name, timeout=timeout_s or TIMEOUT_S)
    found = metadata.topics[name]
    if found.error is not None and found.error.code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
        raise Unavailable(f"there is no topic {name} at the brokers yet; where they make topics, `quandary log publish` does")
    if found.error is not None:
        raise Unavailable(f"the topic {name} cannot be read: {found.error.str()}")
    return Topic(metadata.cluster_id or "", name, tuple(sorted(found.partitions)))


def entry_of(message: Message) -> LogEntry:
    """Return a message as an entry."""
    headers = message.headers() or []
    named = dict(headers) if isinstance(headers, list) else dict(headers.items())
    frame_id = named.get(FRAME_ID_HEADER) or b""
    text = frame_id if isinstance(frame_id, str) else frame_id.decode(errors="replace")
    _, milliseconds = message.timestamp()
    value = message.value()
    payload = value.encode() if isinstance(value, str) else value or b""
    return LogEntry((message.offset() or 0) + 1, text, payload, time_of(milliseconds * 10**6))


@contextmanager
def opened(kind: str, options: Mapping[str, str]) -> Iterator[None]:
    """Make a client; raises InvalidArgument for properties that librdkafka does not take."""
    try:
        yield
    except (KafkaException, TypeError, ValueError) as error:
        reason = error.args[0].str() if isinstance(error, KafkaException) and error.args else str(error)
        raise InvalidArgument.of("selector.kafka", ", ".join(sorted(options)), f"properties of a {kind}: {reason}") from None


@contextmanager
def named_errors(what: str) -> Iterator[None]:
    """Raise Unavailable for what Kafka cannot do now."""
    try:
        yield
    except KafkaException as error:
        text = error.args[0].str() if error.args else "an error without a name"
        raise Unavailable(f"{what} cannot be reached: {text}") from error
