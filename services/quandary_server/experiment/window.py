"""Ray's tasks: run in their order, a window of them at a time, or all at once and waited for."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import ray
from ray import ObjectRefGenerator

Progress = Callable[[int, int, str], None]
"""Told how many are done, how many there are, and which was the last."""


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


def gathered(tasks: Sequence[tuple[str, Any]], progress: Progress) -> list[Any]:
    """Return what named tasks that were submitted give, in their order; progress is told of each that ends.

    Where one fails, or this process is interrupted, the others are cancelled. Raises what a task raised itself.
    """
    names = {reference: name for name, reference in tasks}
    found: dict[Any, Any] = {}
    waiting = list(names)
    try:
        while waiting:
            (ready,), waiting = ray.wait(waiting)
            found[ready] = got(ready)
            progress(len(found), len(names), names[ready])
    except BaseException:
        for reference in waiting:
            ray.cancel(reference, force=True)
        raise
    return [found[reference] for _, reference in tasks]


def cluster_width() -> int:
    """Return how many tasks of one CPU the cluster that was joined runs at a time, at least 1."""
    return max(int(ray.cluster_resources().get("CPU", 1)), 1)  # type: ignore[no-untyped-call]


def got(reference: Any) -> Any:
    """Return what a task gave; raises what it raised itself."""
    try:
        return ray.get(reference)
    except ray.exceptions.RayTaskError as error:
        raise error.cause from None
