"""Ray's tasks run in their order, a window of them at a time."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import islice
from typing import Any

import ray
from ray import ObjectRefGenerator


@dataclass(frozen=True, slots=True)
class Job:
    """A task that yields: `start` submits it to Ray, `keep` is given all that it yields, one after the other."""

    start: Callable[[], ObjectRefGenerator]
    keep: Callable[[Any], None]


def run_in_order(jobs: Iterable[Job], width: int) -> None:
    """Run jobs, at most `width` at a time: the next begins when one ends, since Ray keeps no order among those submitted.

    Where one fails, or this process is interrupted, those that run are cancelled and waited for no longer. Raises what failed
    first; of a task, what it raised itself.
    """
    waiting = iter(jobs)
    running: dict[ObjectRefGenerator, Job] = {}
    try:
        while True:
            for job in islice(waiting, width - len(running)):
                running[job.start()] = job
            if not running:
                return
            ready, _ = ray.wait(list(running))
            stream: Any = ready[0]
            try:
                reference = next(stream)
            except StopIteration:
                del running[stream]
                continue
            running[stream].keep(got(reference))
    except BaseException:
        for stream in running:
            ray.cancel(stream, force=True)
        raise


def cluster_width() -> int:
    """Return how many tasks of one CPU the cluster that was joined runs at a time, at least 1."""
    return max(int(ray.cluster_resources().get("CPU", 1)), 1)  # type: ignore[no-untyped-call]


def got(reference: Any) -> Any:
    """Return what a task gave; raises what it raised itself."""
    try:
        return ray.get(reference)
    except ray.exceptions.RayTaskError as error:
        raise error.cause from None
