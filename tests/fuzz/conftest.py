"""Options of the fuzz tests, and what they attack."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fuzz.seeds import small_frames
from fuzz.services import AllServices

from quandary import Calibration
from quandary_server.registry.directory import Artefacts

FEW = 400


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--fuzz-requests", type=int, default=FEW, help="requests to make in all")
    parser.addoption("--fuzz-figures", type=Path, default=None, help="file to write the figures to, as JSON")


@pytest.fixture(scope="module")
def services(tmp_path_factory: Any, generation: Artefacts, calibration: Calibration) -> Iterator[AllServices]:
    running = AllServices(tmp_path_factory.mktemp("fuzz"), generation, small_frames(calibration))
    yield running
    running.stop()
