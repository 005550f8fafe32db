"""What the collector of cycles looks through."""

import gc
from collections.abc import Iterator
from typing import Any

import pytest

from quandary_server.allocation import collect_only_what_is_new


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    yield
    gc.unfreeze()


def test_what_is_there_is_not_looked_through_any_more_and_what_comes_is() -> None:
    before: dict[str, Any] = {"kept": []}
    assert any(found is before for found in gc.get_objects())
    collect_only_what_is_new()
    after: dict[str, Any] = {"new": []}
    objects = gc.get_objects()
    assert not any(found is before for found in objects)
    assert any(found is after for found in objects)
