"""A Kafka topic as the fleet log, against librdkafka's mock cluster: small messages, nothing about durability."""

import logging
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer, KafkaError, Message, Producer, TopicPartition
from support.kafka_broker import KafkaBroker
from support.relay import Relay
from support.waiting import wait_for

from quandary.errors import InvalidArgument, Unavailable
from quandary_server.cluster import free_ports
from quandary_server.now_and_then import TOLD_AGAIN_S
from quandary_server.selector.dead_letters import DeadLetters
from quandary_server.storage.frame_log import LogRecord
from quandary_server.storage.kafka_dead_letters import KafkaDeadLetters
from quandary_server.storage.kafka_log import KafkaLog
from quandary_server.storage.kafka_options import options_of
from quandary_server.storage.kafka_problems import ClientLog, Problems
from quandary_server.storage.kafka_view import KafkaView
from quandary_server.storage.kafka_writer import KafkaLogWriter
from quandary_server.storage.store import Store
from quandary_server.storage.task_values import RejectedEntry

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def client() -> Iterator[dict[str, str]]:
    broker = KafkaBroker()
    yield {"bootstrap.servers": broker.servers}
    broker.stop()


def never(source: str) -> int:
    return 0


def never_lost(count: int) -> None:
    raise AssertionError(f"{count} entries are lost")


class Reader:
    """A member of a group of its own, with offsets as the store has them."""

    def __init__(self, client: dict[str, str], topic: str, offsets: dict[str, int] | None = None, capacity: int = 1000) -> None:
        self.offsets = dict(offsets or {})
        self.lost = 0
        self.log = KafkaLog(
            {**client, "fetch.wait.max.ms": "20"}, topic, f"group-{time.monotonic_ns()}", self.offset, capacity, self._lose
        )

    def offset(self, source: str) -> int:
        return self.offsets.get(source, 0)

    def read(self, count: int, limit: int = 100) -> list[str]:
        """Return the frames of the next `count` entries."""
        found: list[str] = []
        end = time.monotonic() + 60
        while len(found) < count:
            assert time.monotonic() < end, f"{len(found)} of {count} entries came"
            for source in self.log.sources():
                batch = self.log.read(source, self.offset(source), min(limit, count - len(found)))
                found += [entry.frame_id for entry in batch.entries]
                if batch.entries:
                    self.offsets[source] = batch.position
                    self.log.committed(source, batch.position)
        return found

    def _lose(self, count: int) -> None:
        self.lost += count


def records(*numbers: int) -> list[LogRecord]:
    return [LogRecord(f"f{i:04d}", b"payload %d" % i, f"d{i % 7}") for i in numbers]


def publish(client: dict[str, str], topic: str, *numbers: int) -> None:
    writer = KafkaLogWriter(client, topic)
    writer.append(records(*numbers), now=NOW)
    writer.close()


def test_a_drive_keeps_its_order_and_a_full_buffer_pauses_its_partition(client: dict[str, str]) -> None:
    publish(client, "ordered", *range(140))
    reader = Reader(client, "ordered", capacity=20)
    found = reader.read(140, limit=7)
    for drive in range(7):
        numbers = [int(frame[1:]) for frame in found if int(frame[1:]) % 7 == drive]
        assert numbers == list(range(drive, 140, 7))
    assert sum(lag.waiting for lag in reader.log.lags(reader.offset)) == 0
    reader.log.close()
    view = KafkaView(client, "ordered")
    assert sum(lag.waiting for lag in view.lags(never)) == 140
    assert sum(lag.waiting for lag in view.lags(reader.offset)) == 0
    assert {entry.frame_id for entry in view.tail(1000)} == set(found)
    assert len(view.tail(5)) == 5
    view.close()


def test_the_stores_offset_decides_where_to_go_on(client: dict[str, str]) -> None:
    publish(client, "resumed", *range(40))
    first = Reader(client, "resumed")
    before = first.read(15, limit=5)
    first.log.close()
    second = Reader(client, "resumed", first.offsets)
    after = second.read(25)
    assert sorted(before + after) == [f"f{i:04d}" for i in range(40)]
    second.offsets = dict(first.offsets)  # as from a backup
    assert sorted(second.read(25)) == sorted(after)
    second.log.close()


def test_a_topic_that_is_not_the_one_read_before_is_told(client: dict[str, str]) -> None:
    publish(client, "other", 1)
    view = KafkaView(client, "other")
    offsets = dict.fromkeys(view.sources(), 50)
    assert all("another topic" in lag.problem for lag in view.lags(lambda source: offsets[source]))
    view.close()
    reader = Reader(client, "other", offsets)
    while not reader.log.sources():
        pass
    source = reader.log.sources()[0]
    with pytest.raises(Unavailable, match="was replaced by another: it ends at"):
        reader.log.read(source, 50, 10)
    reader.log.close()


def letters_in(client: dict[str, str], topic: str, count: int) -> list[Message]:
    consumer = Consumer({**client, "group.id": "letters", "auto.offset.reset": "earliest"})
    consumer.assign([TopicPartition(topic, partition, 0) for partition in range(4)])
    found: list[Message] = []
    while len(found) < count:
        found += [message for message in consumer.consume(count, 1.0) if message.error() is None]
    consumer.close()
    return found


def headers(message: Message) -> dict[str, Any]:
    found = message.headers()
    assert isinstance(found, list)
    return {name: value.decode() if isinstance(value, bytes) else value for name, value in found}


def test_what_is_rejected_goes_to_the_dead_letter_topic_with_its_reason(client: dict[str, str], tmp_path: Path) -> None:
    sent: list[int] = []
    with Store.open(tmp_path / "store.db") as store:
        rejected = [RejectedEntry(i, f"reason {i}", b"poison %d" % i, f"f{i}") for i in (2, 5)]
        store.intake.apply(rejected, log="kafka/c/t/0", after=0, position=9, now=NOW)
        box = KafkaDeadLetters(client, "letters")
        DeadLetters(box, store, lambda: NOW, sent.append).forward("kafka/c/t/0")  # as after a restart
        letters = DeadLetters(box, store, lambda: NOW, sent.append)
        letters.forward("kafka/c/t/0")
        store.intake.apply([RejectedEntry(12, "late", b"x")], log="kafka/c/t/0", after=9, position=12, now=NOW)
        letters.forward("kafka/c/t/0")
    assert sent == [2, 1]
    found = sorted(letters_in(client, "letters", 3), key=lambda message: int(headers(message)["position"]))
    assert [message.value() for message in found] == [b"poison 2", b"poison 5", b"x"]
    assert headers(found[0]) == {"reason": "reason 2", "source": "kafka/c/t/0", "position": "2", "frame_id": "f2"}


def test_a_letter_that_is_too_large_goes_without_its_payload(client: dict[str, str]) -> None:
    box = KafkaDeadLetters({**client, "message.max.bytes": "2000"}, "large")
    box.send("kafka/c/t/0", [RejectedEntry(1, "huge", bytes(5000), "f1"), RejectedEntry(2, "small", b"x", "f2")])
    found = {headers(message)["frame_id"]: message for message in letters_in(client, "large", 2)}
    assert not found["f1"].value()
    assert headers(found["f1"])["omitted_bytes"] == "5000"
    assert found["f2"].value() == b"x"


def test_a_cluster_that_does_not_answer_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("quandary_server.storage.kafka_topic.TIMEOUT_S", 0.5)
    nobody = {"bootstrap.servers": "127.0.0.1:1", "log_level": "0"}
    makers: list[Callable[[], object]] = [lambda: KafkaLogWriter(nobody, "t"), lambda: KafkaView(nobody, "t")]
    for make in makers:
        with pytest.raises(Unavailable, match="the topic t cannot be reached"):
            make()


def test_a_log_waits_for_brokers_that_are_not_there_yet(client: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("quandary_server.storage.kafka_log.CONNECT_S", 0.5)
    publish(client, "late", 1, 2)
    (port,) = free_ports(1)
    reader = Reader({"bootstrap.servers": f"127.0.0.1:{port}", "log_level": "0", "reconnect.backoff.max.ms": "200"}, "late")
    assert wait_for(lambda: away(reader)).startswith("the topic late cannot be reached")
    relay = Relay(client["bootstrap.servers"].split(",")[0], port)
    wait_for(lambda: not away(reader))
    assert sorted(reader.read(2)) == ["f0001", "f0002"]
    reader.log.close()
    relay.close()


def away(reader: Reader) -> str:
    """Return what keeps the log from being read."""
    try:
        reader.log.sources()
    except Unavailable as error:
        return str(error)
    return ""


def test_a_producer_without_a_clock_harms_nobody(client: dict[str, str]) -> None:
    producer = Producer(client)
    for i, timestamp in enumerate((1_700_000_000_000_000, 2**62)):  # not in milliseconds
        producer.produce("clock", b"x", headers=[("frame_id", f"f{i}".encode())], timestamp=timestamp, partition=0)
    producer.produce("clock", b"y", headers=[("frame_id", b"f2")], partition=0)
    producer.flush()
    view = KafkaView(client, "clock")
    (source,) = (lag.source for lag in view.lags(never) if lag.waiting)
    found = view.read(source, 0, 3).entries
    assert [entry.frame_id for entry in found] == ["f0", "f1", "f2"]
    assert [entry.appended.year for entry in found[:2]] == [1970, 1970]
    assert found[2].appended.year > 2000
    view.close()


def test_a_problem_that_lasts_is_told_now_and_then(caplog: pytest.LogCaptureFixture) -> None:
    seconds = 0.0
    problems = Problems(lambda: seconds)
    for _ in range(100):
        problems.tell(KafkaError(KafkaError._TRANSPORT))
        problems.tell(KafkaError(KafkaError._ALL_BROKERS_DOWN))
    assert len(caplog.messages) == 2
    seconds = TOLD_AGAIN_S
    problems.tell(KafkaError(KafkaError._TRANSPORT))
    assert [message.split()[1] for message in caplog.messages] == [
        "code=_TRANSPORT",
        "code=_ALL_BROKERS_DOWN",
        "code=_TRANSPORT",
    ]


def test_connections_that_fail_are_told_once_and_not_by_the_client_too(caplog: pytest.LogCaptureFixture) -> None:
    client = ClientLog(logging.getLogger("client"))
    client.log(logging.ERROR, "%s [%s] %s", "FAIL", "rdkafka#consumer-1", "Connect to ipv4#127.0.0.1:1 failed")
    client.log(logging.WARNING, "%s [%s] %s", "MAXPOLL", "rdkafka#consumer-1", "Application maximum poll interval exceeded")
    assert caplog.messages == ["MAXPOLL [rdkafka#consumer-1] Application maximum poll interval exceeded"]


def test_properties_that_are_none_are_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match=r"selector\.kafka is .*colour.*No such configuration property"):
        KafkaLogWriter({"bootstrap.servers": "127.0.0.1:1", "colour": "red"}, "t")
    file = tmp_path / "client.properties"
    file.write_text("# secrets\n\nsasl.password = a=b\nsasl.username=fleet\n")
    assert options_of(file) == {"sasl.password": "a=b", "sasl.username": "fleet"}
    assert options_of(None) == {}
    file.write_text("sasl.password\n")
    with pytest.raises(InvalidArgument, match=r"line 1 of .*client\.properties, must be name=value") as refused:
        options_of(file)
    assert "sasl" not in str(refused.value)
    with pytest.raises(InvalidArgument, match="a file that can be read"):
        options_of(tmp_path / "none")


def test_what_kafka_let_go_of_is_counted_and_the_rest_is_read(client: dict[str, str]) -> None:
    def large(first: int, count: int) -> list[LogRecord]:
        return [LogRecord(f"f{i:04d}", bytes(100_000), "drive") for i in range(first, first + count)]

    writer = KafkaLogWriter(client, "let-go")
    writer.append(large(0, 5), now=NOW)
    first = Reader(client, "let-go")
    assert first.read(3, limit=3) == ["f0000", "f0001", "f0002"]
    first.log.close()
    writer.append(large(5, 200), now=NOW)  # the mock keeps 5 MB of a partition
    writer.close()
    view = KafkaView(client, "let-go")
    (behind,) = (lag for lag in view.lags(first.offset) if lag.applied)
    view.close()
    second = Reader(client, "let-go", first.offsets)
    new = Reader(client, "let-go")
    found = second.read(behind.waiting)
    assert found == [f"f{i:04d}" for i in range(205 - behind.waiting, 205)]
    assert second.lost == 205 - behind.waiting - 3 > 0
    second.log.close()
    assert new.read(behind.waiting) == found
    assert new.lost == 0, "who never read the topic has lost nothing"
    new.log.close()
