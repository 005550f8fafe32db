"""What may wait gives way to what answers calls."""

import os
from concurrent.futures import ThreadPoolExecutor

import pytest
import ray

from quandary_server.cluster import BACKGROUND_NICENESS, give_way


def niceness() -> int:
    """Return that of the calling thread."""
    return os.getpriority(os.PRIO_PROCESS, 0)


@pytest.mark.skipif(os.uname().sysname != "Linux", reason="a thread has a niceness of its own on Linux only")
def test_workers_are_as_nice_as_we_are_but_for_threads_that_give_way(ray_cluster: str) -> None:
    def nicenesses() -> tuple[int, int, int]:
        with ThreadPoolExecutor(1, initializer=give_way) as thread:
            return niceness(), thread.submit(niceness).result(), niceness()

    task = ray.remote(num_cpus=1)(nicenesses)
    ours = niceness()
    assert ray.get(task.remote()) == (ours, max(ours, BACKGROUND_NICENESS), ours)
