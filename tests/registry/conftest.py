"""A registry of each kind."""

from pathlib import Path

import pytest

from quandary_server.registry.directory import Registry
from quandary_server.registry.place import RegistryPlace

DIRECTORY, S3 = "directory", "s3"


@pytest.fixture(params=[DIRECTORY, S3])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> RegistryPlace:
    """An empty place for a registry, in a directory and in S3."""
    if request.param == DIRECTORY:
        return RegistryPlace(tmp_path)
    server = request.getfixturevalue("s3_server")
    return RegistryPlace(tmp_path, server.place(tmp_path.name))


@pytest.fixture
def registry(place: RegistryPlace) -> Registry:
    """An empty registry."""
    return place.open()
