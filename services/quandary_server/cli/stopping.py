"""Ctrl-C and SIGTERM amid long work: two lines and a code, not silence or a trace."""

import shlex
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from quandary_server.cli.output import err

STOPPED = 128
"""What a shell adds to a signal's number."""


@contextmanager
def stoppable(told: Callable[[], str]) -> Iterator[None]:
    """Run the body until it ends, or until SIGINT or SIGTERM ends it with KeyboardInterrupt, so that it can tidy.

    Then `told` says how far it got, the command that goes on is printed, and the process leaves with 130 or 143. Whatever else
    is raised once a signal came (by a Ray that got it too) counts as the end that it asked for.
    """
    received: list[int] = []

    def stop(number: int, _: object) -> None:
        received.append(number)
        raise KeyboardInterrupt

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    except BaseException as error:
        if not received and not isinstance(error, KeyboardInterrupt):
            raise
        err.print(f"{told()}: {command()}", markup=False, soft_wrap=True)
        sys.exit(STOPPED + (received or [signal.SIGINT])[0])
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def command() -> str:
    """Return the command that this process was started with, as a shell takes it."""
    return shlex.join(["quandary", *sys.argv[1:]])


class Reached:
    """How far long work is, for whoever stops it. noun: what is counted."""

    def __init__(self, noun: str) -> None:
        self._noun, self._done, self._total = noun, 0, 0

    def note(self, done: int, total: int) -> None:
        """Keep how many are done, of how many."""
        self._done, self._total = done, total

    def __str__(self) -> str:
        if not self._done:
            return f"stopped before the end of the first {self._noun}"
        return f"stopped after {self._done:,} of {self._total:,} {self._noun}s"
