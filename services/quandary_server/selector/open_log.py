"""The fleet log that the settings ask for."""

import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime

from quandary.errors import NotFound
from quandary_server.files import make_directory
from quandary_server.selector.dead_letters import DeadLetterBox
from quandary_server.selector.shared_log import Membership, SharedLog
from quandary_server.settings import Settings
from quandary_server.storage.extras import needed
from quandary_server.storage.fleet_log import SqliteFleetLog
from quandary_server.storage.frame_log import FrameLog, FrameLogWriter
from quandary_server.storage.kafka_options import options_of
from quandary_server.storage.log_settings import LogKind
from quandary_server.storage.store import Store

__all__ = ["OpenLog", "check_begun", "log_writer", "look_at_log", "member_name", "open_log"]


@dataclass(frozen=True)
class OpenLog:
    """A log to consume, and where what is rejected goes on to; None: it stays in the store alone."""

    frames: FrameLog
    dead_letters: DeadLetterBox | None = None


def open_log(settings: Settings, store: Store, clock: Callable[[], datetime], lost: Callable[[int], None]) -> OpenLog:
    """Open the log to consume it as a member of the group; lost: called with how many entries the log had let go of.

    Raises Unavailable, InvalidArgument where the libraries for this kind are not installed.
    """
    selector = settings.selector
    if selector.log_kind is LogKind.KAFKA:
        with needed("kafka", "to read a log in Kafka"):
            from quandary_server.storage.kafka_dead_letters import KafkaDeadLetters
            from quandary_server.storage.kafka_log import KafkaLog

        client = kafka_client(settings)
        consumer = {**client, **selector.kafka.consumer_options}
        frames = KafkaLog(consumer, selector.kafka.topic, selector.group, store.intake.offset, selector.kafka.buffer, lost)
        return OpenLog(frames, KafkaDeadLetters(client, selector.kafka.dead_letters))
    if selector.log_kind is LogKind.MCAP:
        make_directory(settings.mcap_directory)
    files = _files(settings, store, clock)
    membership = Membership(store.members, selector.group, member_name(settings), clock, selector.member_lasts)
    membership.join()
    return OpenLog(SharedLog(files, membership, even=selector.log_kind is LogKind.SQLITE))


def member_name(settings: Settings) -> str:
    """Return the selector's name among the others."""
    return settings.selector.member or f"{socket.gethostname()}:{settings.selector.port}"


@contextmanager
def look_at_log(settings: Settings, store: Store | None, clock: Callable[[], datetime]) -> Iterator[FrameLog]:
    """Open the log to look at it, without taking part in reading; store: where its offsets are, if any are asked for.

    Raises NotFound where nothing has been published yet: to open it would make it; and as `open_log` does.
    """
    check_begun(settings)
    if settings.selector.log_kind is LogKind.KAFKA:
        with needed("kafka", "to look at a log in Kafka"):
            from quandary_server.storage.kafka_view import KafkaView

        opened: FrameLog = KafkaView(kafka_client(settings), settings.selector.kafka.topic)
    else:
        opened = _files(settings, store, clock, exact=True)
    try:
        yield opened
    finally:
        opened.close()


def check_begun(settings: Settings) -> None:
    """Raise NotFound where the settings mean a file or directory that is not there; what Kafka has is seen there."""
    place = {LogKind.SQLITE: settings.fleet_log, LogKind.MCAP: settings.mcap_directory}.get(settings.selector.log_kind)
    if place is not None and not place.exists():
        raise NotFound(f"there is no fleet log at {place} yet: `quandary log publish FOLDER` begins it, as does a selector")


@contextmanager
def log_writer(settings: Settings) -> Iterator[FrameLogWriter]:
    """Open the log to publish to it. What was appended is there for good once the context ends."""
    writer = _writer(settings)
    try:
        yield writer
    finally:
        writer.close()


def kafka_client(settings: Settings) -> dict[str, str]:
    """Return the properties of every Kafka client. Raises InvalidArgument, naming the file where it cannot be read."""
    kafka = settings.selector.kafka
    return {**kafka.options, **options_of(kafka.options_file), "bootstrap.servers": kafka.servers}


def _files(settings: Settings, store: Store | None, clock: Callable[[], datetime], *, exact: bool = False) -> FrameLog:
    if settings.selector.log_kind is LogKind.SQLITE:
        return SqliteFleetLog.open(settings.fleet_log, partitions=settings.selector.log_partitions)
    with needed("mcap", "to read a log of MCAP files"):
        from quandary_server.storage.mcap_log import McapLog

    passed_over = store.intake.unreadable if store else None
    return McapLog(settings.mcap_directory, settings.selector.mcap.settle, clock, passed_over, exact=exact)


def _writer(settings: Settings) -> FrameLogWriter:
    selector = settings.selector
    settings.data.mkdir(parents=True, exist_ok=True)
    match selector.log_kind:
        case LogKind.SQLITE:
            return SqliteFleetLog.open(settings.fleet_log, partitions=selector.log_partitions)
        case LogKind.MCAP:
            with needed("mcap", "to publish MCAP files"):
                from quandary_server.storage.mcap_writer import McapLogWriter

            return McapLogWriter(settings.mcap_directory, selector.mcap.compression, selector.mcap.rotate_bytes)
        case LogKind.KAFKA:
            with needed("kafka", "to publish to Kafka"):
                from quandary_server.storage.kafka_writer import KafkaLogWriter

            return KafkaLogWriter(kafka_client(settings), selector.kafka.topic)
