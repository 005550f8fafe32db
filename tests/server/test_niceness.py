"""What may wait gives way to what answers calls."""

import os

import ray

from quandary_server.cluster import BACKGROUND_NICENESS, give_way


def niceness() -> int:
    return os.getpriority(os.PRIO_PROCESS, 0)


def test_workers_are_as_nice_as_we_are_and_give_way_where_they_say_so(ray_cluster: str) -> None:
    def before_and_after() -> tuple[int, int]:
        before = niceness()
        give_way()
        return before, niceness()

    # a worker of its own: niceness is not taken back
    task = ray.remote(num_cpus=1, max_calls=1)(before_and_after)
    assert ray.get(task.remote()) == (niceness(), max(niceness(), BACKGROUND_NICENESS))
