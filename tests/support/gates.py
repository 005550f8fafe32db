"""Work that a test holds: it begins, says so, and ends when it is opened."""

import threading

PATIENCE_S = 30.0


class Gate:
    """Call it in a thread: it is passed once it was opened."""

    def __init__(self) -> None:
        self._begun, self._open = threading.Event(), threading.Event()

    def __call__(self) -> str:
        self._begun.set()
        assert self._open.wait(PATIENCE_S)
        return "opened"

    def open(self) -> None:
        """Let it end."""
        self._open.set()

    def wait_until_begun(self) -> None:
        """Return when it has begun."""
        assert self._begun.wait(PATIENCE_S)
