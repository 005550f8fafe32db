"""Runs the services as processes of one parent: starts them, starts them anew when they die, ends them together."""

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

STOP_GRACE = timedelta(seconds=7)
FIRST_RESTART, LONGEST_RESTART = timedelta(seconds=0.5), timedelta(seconds=30)
STEADY_AFTER = timedelta(seconds=30)
WATCH_EVERY_S = 0.2
PR_SET_PDEATHSIG = 1


@dataclass
class _Child:
    name: str
    command: Sequence[str]
    process: subprocess.Popen[bytes]
    started: float
    wait_s: float = FIRST_RESTART.total_seconds()
    restart_at: float | None = field(default=None)


class Supervisor:
    """The processes of one Quandary; each writes to <logs>/<name>.log.

    told: called with a line for people whenever a process died, was started anew or had to be killed.
    """

    def __init__(self, environment: Mapping[str, str], logs: Path, told: Callable[[str], None]) -> None:
        self._environment = {**os.environ, **environment}
        self._logs, self._told = logs, told
        self._children: list[_Child] = []
        self._over = threading.Event()
        self._watcher = threading.Thread(target=self._watch, name="supervisor", daemon=True)

    def start(self, services: Sequence[str]) -> None:
        """Start `quandary <service>` for each, and watch them."""
        self._logs.mkdir(parents=True, exist_ok=True)
        for name in services:
            command = [sys.executable, "-m", "quandary_server.cli", name, "--parent", str(os.getpid())]
            self._children.append(_Child(name, command, self._spawn(name, command), time.monotonic()))
        self._watcher.start()

    def pid(self, name: str) -> int:
        """Return the process id of a service as it runs now."""
        return next(child.process.pid for child in self._children if child.name == name)

    def stop(self) -> None:
        """End all processes: SIGTERM, and SIGKILL for what is left after 7 s."""
        self._over.set()
        if self._watcher.is_alive():
            self._watcher.join()
        for child in self._children:
            child.process.terminate()
        deadline = time.monotonic() + STOP_GRACE.total_seconds()
        for child in self._children:
            try:
                child.process.wait(max(deadline - time.monotonic(), 0))
            except subprocess.TimeoutExpired:
                self._told(f"{child.name} did not end within {STOP_GRACE.seconds} s and was killed")
                child.process.kill()
                child.process.wait()

    def _watch(self) -> None:
        while not self._over.wait(WATCH_EVERY_S):
            for child in self._children:
                self._look(child, time.monotonic())

    def _look(self, child: _Child, now: float) -> None:
        if child.restart_at is not None:
            if now >= child.restart_at:
                child.process, child.started, child.restart_at = self._spawn(child.name, child.command), now, None
                self._told(f"{child.name} was started anew")
        elif (code := child.process.poll()) is not None:
            steady = now - child.started > STEADY_AFTER.total_seconds()
            child.wait_s = FIRST_RESTART.total_seconds() if steady else min(child.wait_s * 2, LONGEST_RESTART.total_seconds())
            child.restart_at = now + child.wait_s
            how = f"by {signal.Signals(-code).name}" if code < 0 else f"with code {code}"
            self._told(f"{child.name} ended {how}; see {self._logs / child.name}.log; it is started anew in {child.wait_s:g} s")

    def _spawn(self, name: str, command: Sequence[str]) -> subprocess.Popen[bytes]:
        with (self._logs / f"{name}.log").open("ab") as out:
            # a session of its own: Ctrl-C is for the parent, which ends its children in order
            return subprocess.Popen(
                command,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )


def end_with(parent: int) -> None:
    """Have this process told to end (SIGTERM) when its supervisor dies, however that dies. Linux only; elsewhere nothing."""
    signal_on_death_of_parent(signal.SIGTERM)
    if sys.platform == "linux" and os.getppid() != parent:
        # it died before we asked
        os.kill(os.getpid(), signal.SIGTERM)


def signal_on_death_of_parent(number: signal.Signals) -> None:
    """Have the kernel send this process a signal when its parent dies; kept over execve. Linux only; elsewhere nothing."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, number)
