"""The frames that were scored of late."""

from collections.abc import Callable
from typing import Any

from quandary_server.storage import Store


def test_they_are_those_with_a_score_the_newest_first(store: Store, fill: Callable[..., Any]) -> None:
    fill(0.5, None, 0.1, 0.9)
    assert store.recent.scored(10) == (b"record of f003", b"record of f002", b"record of f000")
    assert store.recent.scored(1) == (b"record of f003",)
