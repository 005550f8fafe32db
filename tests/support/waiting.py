"""Waiting for a state, not for a time."""

import time
from collections.abc import Callable
from threading import Event
from typing import TypeVar

Found = TypeVar("Found")

LOOK_EVERY_S = 0.02


def wait_for(condition: Callable[[], Found], timeout_s: float = 60.0) -> Found:
    """Return what the condition gives once that is true."""
    deadline = time.monotonic() + timeout_s
    while not (found := condition()):
        assert time.monotonic() < deadline, "not in time"
        Event().wait(LOOK_EVERY_S)
    return found
