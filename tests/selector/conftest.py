"""Fixtures of the selector tests."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.scoring import ScoringService

from quandary_server.registry.directory import Artefacts
from quandary_server.storage.fleet_log import SqliteFleetLog
from quandary_server.storage.store import Store


@pytest.fixture
def scoring(tmp_path: Path, generation: Artefacts) -> Iterator[ScoringService]:
    """A scoring service without a generation."""
    service = ScoringService(tmp_path, generation)
    service.start()
    yield service
    service.stop()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """A store in a file."""
    with Store.open(tmp_path / "store.db") as opened:
        yield opened


@pytest.fixture
def fleet_log(tmp_path: Path) -> Iterator[SqliteFleetLog]:
    """A fleet log in a file."""
    with SqliteFleetLog.open(tmp_path / "fleet.log.db") as opened:
        yield opened
