"""Options of the stream tests, and what they run on."""

from collections.abc import Iterator

import pytest
from support.kafka_broker import KafkaBroker
from support.selecting import Selectors


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--stream-records", type=int, default=None, help="records to stream, by each log; few unless set")
    parser.addoption("--stream-kills", type=int, default=None, help="how often the selector is killed meanwhile")


@pytest.fixture(scope="session")
def broker() -> Iterator[KafkaBroker]:
    """A Kafka cluster."""
    running = KafkaBroker()
    yield running
    running.stop()


@pytest.fixture
def selectors() -> Iterator[Selectors]:
    """Selectors in processes of their own, killed at the end."""
    running = Selectors()
    yield running
    running.stop()
