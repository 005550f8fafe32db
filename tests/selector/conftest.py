"""Fixtures of the selector tests."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.labelling import Server
from support.records import START, log_record, record_of
from support.scoring import ScoringService

from quandary_server.registry.directory import Artefacts
from quandary_server.storage.fleet_log import SqliteFleetLog
from quandary_server.storage.store import Store
from quandary_server.storage.task_values import TaskEntry


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


@pytest.fixture
def server(store: Store, tmp_path: Path, make_frame: Any) -> Iterator[Server]:
    """Both servicers over six frames of a drive, f0 to f5, unscored in this order."""
    entries = []
    for i in range(6):
        record = record_of(make_frame(f"f{i}", seed=i), tmp_path / "clouds", at_s=i)
        entry = TaskEntry(i + 1, "active", record.frame_id, "drive", record.stamp, log_record(record).payload, 3, shuffle=i)
        entries.append(entry)
    store.intake.apply(entries, log="log", after=0, position=6, now=START)
    running = Server(store, tmp_path / "tokens.json")
    yield running
    running.stop()
