"""Fixtures of the scoring tests."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.scoring import ScoringService, register

from quandary_server.frustum.raster import Rasters
from quandary_server.inference.cascade import calibrate_cascade
from quandary_server.inference.generation import LoadedGeneration
from quandary_server.registry.directory import Artefacts
from quandary_server.registry.manifest import CascadeRecord


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


@pytest.fixture(scope="module")
def record(generation: Artefacts, rasters: Callable[[int], Rasters]) -> CascadeRecord:
    """The thresholds that the generation has."""
    return calibrate_cascade(LoadedGeneration(generation), rasters(60))


@pytest.fixture
def calibrated(service: ScoringService, generation: Artefacts, record: CascadeRecord) -> ScoringService:
    """A service whose current generation has thresholds for ESCALATE."""
    manifest = generation.manifest.model_copy(update={"cascade": record})
    service.promote(register(service.registry, Artefacts(manifest, generation.members)))
    return service
