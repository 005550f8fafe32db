"""Options of the stream tests, and what they run on."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.kafka_broker import KafkaBroker
from support.selecting import Selectors

from quandary_server.bench.figures import Figure, write_document


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--stream-records", type=int, default=None, help="records to stream, by each log; few unless set")
    parser.addoption("--stream-kills", type=int, default=None, help="how often the selector is killed meanwhile")
    parser.addoption("--stream-figures", type=Path, default=None, help="file to write what came of it to, as JSON")


@pytest.fixture(scope="session")
def figures(pytestconfig: pytest.Config) -> Iterator[list[Figure]]:
    """What came of the kills, to be written where that is asked for."""
    found: list[Figure] = []
    yield found
    file: Path | None = pytestconfig.getoption("--stream-figures", None)
    if file is not None and found:
        size = " ".join(f"--stream-{of} {pytestconfig.getoption(f'--stream-{of}')}" for of in ("records", "kills"))
        write_document(file, found, f"pytest tests/streams {size} --stream-figures tests/bench/results/killed.json")


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
