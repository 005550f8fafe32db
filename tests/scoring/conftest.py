"""Fixtures of the scoring tests."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.scoring import ScoringService

from quandary_server.registry.directory import Artefacts


@pytest.fixture
def empty_service(tmp_path: Path, generation: Artefacts) -> Iterator[ScoringService]:
    """A service without a generation."""
    service = ScoringService(tmp_path, generation)
    service.start()
    yield service
    service.stop()


@pytest.fixture
def service(empty_service: ScoringService) -> ScoringService:
    """A service with a current generation."""
    empty_service.promote(empty_service.register())
    return empty_service
