"""Waiting for Ray's tasks."""

from collections.abc import Sequence
from typing import Any

import ray

from quandary_server.experiment.runner import Progress


def gathered(tasks: Sequence[tuple[str, Any]], progress: Progress) -> list[Any]:
    """Return what named Ray tasks give, in their order; progress is told of each that ends. Raises what a task raised."""
    names = {reference: name for name, reference in tasks}
    found: dict[Any, Any] = {}
    waiting = list(names)
    while waiting:
        (ready,), waiting = ray.wait(waiting)
        found[ready] = _got(ready)
        progress(len(found), len(names), names[ready])
    return [found[reference] for _, reference in tasks]


def _got(reference: Any) -> Any:
    try:
        return ray.get(reference)
    except ray.exceptions.RayTaskError as error:
        raise error.cause from None
