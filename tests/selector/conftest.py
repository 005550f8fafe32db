"""Fixtures of the selector tests."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support.labelling import Server, fill
from support.records import log_record, record_of
from support.rescoring import FRAMES, NOW, Selector
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


@pytest.fixture
def server(store: Store, tmp_path: Path, make_frame: Any) -> Iterator[Server]:
    """Both servicers over six frames of a drive, f0 to f5, unscored in this order."""
    fill(store, tmp_path / "clouds", make_frame)
    running = Server(store, tmp_path / "tokens.json")
    yield running
    running.stop()


@pytest.fixture
def selector(
    scoring: ScoringService, fleet_log: SqliteFleetLog, store: Store, make_frame: Callable[..., Any], tmp_path: Path
) -> Iterator[Selector]:
    frames = [make_frame(f"f{i}", seed=i) for i in range(FRAMES)]
    found = [record_of(frame, tmp_path / "clouds", at_s=i) for i, frame in enumerate(frames)]
    fleet_log.append([log_record(record) for record in found], now=NOW)
    selector = Selector(scoring, fleet_log, store)
    yield selector
    selector.close()
