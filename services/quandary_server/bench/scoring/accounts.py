"""What the processes of a scoring service use: CPU, memory, and the cores they are on."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

import psutil

PROXIES = ("haproxy", "ray::ProxyActor", "ray::HAProxyManager")
"""HAProxy with what keeps it, and Serve's own proxy."""


class ServerProcesses:
    """The processes of a service that answer calls: replicas and proxies; of a plain server the one that it is.

    HAProxy reloads by starting anew: what a process took that has ended since counts on.
    """

    def __init__(self, service: int, replicas: Sequence[int]) -> None:
        self._root, self._replicas = psutil.Process(service), frozenset(replicas)
        self._taken: dict[psutil.Process, float] = {}

    def everything(self) -> list[psutil.Process]:
        """Return all that run now."""
        return [self._root, *self._root.children(recursive=True)]

    def is_replica(self, process: psutil.Process) -> bool:
        """Return whether it is one of the replicas."""
        return process.pid in self._replicas

    def cpu_s(self) -> tuple[float, float]:
        """Return the CPU seconds so far, of the replicas and of the proxies."""
        for process in self.everything():
            with suppress(psutil.NoSuchProcess):
                if self.is_replica(process) or process in self._taken or _title(process).startswith(PROXIES):
                    times = process.cpu_times()
                    self._taken[process] = times.user + times.system
        replicas = sum(taken for process, taken in self._taken.items() if self.is_replica(process))
        return replicas, sum(self._taken.values()) - replicas


@contextmanager
def pinned(server: ServerProcesses) -> Iterator[bool]:
    """Keep the replicas on one core and all else, with this process and what it starts, off it while the body runs.

    Yields False, and moves nothing, where there is one core or the system cannot do it.
    """
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    if len(cores) < 2:
        yield False
        return
    for process in server.everything():
        _move(process, cores[:1] if server.is_replica(process) else cores[1:])
    os.sched_setaffinity(0, cores[1:])
    try:
        yield True
    finally:
        os.sched_setaffinity(0, cores)


def unique_mb(process: psutil.Process) -> float:
    """Return the memory that would be free were the process to end (USS)."""
    return float(process.memory_full_info().uss) / 2**20


def proportional_mb(process: psutil.Process) -> float:
    """Return its memory with its share of what it has in common with others (PSS)."""
    return float(process.memory_full_info().pss) / 2**20


def resident_mb(process: psutil.Process) -> float:
    """Return all of its memory, what others have as well included (RSS)."""
    return float(process.memory_info().rss) / 2**20


def _title(process: psutil.Process) -> str:
    # Ray's workers write what they are in place of their arguments
    return process.name() if process.name() == PROXIES[0] else " ".join(process.cmdline())


def _move(process: psutil.Process, cores: Sequence[int]) -> None:
    """Move every thread: the system knows threads, and those that run would stay where they are."""
    with suppress(psutil.NoSuchProcess):
        for thread in process.threads():
            with suppress(ProcessLookupError):
                os.sched_setaffinity(thread.id, cores)
