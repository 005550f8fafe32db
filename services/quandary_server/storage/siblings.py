"""Siblings: near copies that wait folded under a task, and are not leased beside it."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

from sqlalchemy import Connection, select

from quandary_server.storage.schema import IS_FOLDED, WAITS, frames, tasks
from quandary_server.storage.task_values import Task

__all__ = ["with_siblings"]


def with_siblings(connection: Connection, found: Sequence[Task]) -> list[Task]:
    """Return tasks of one queue with the frames that wait folded under each, by stamp."""
    if not found:
        return []
    query = (
        select(tasks.c.folded_under, tasks.c.frame_id)
        .join(frames, frames.c.frame_id == tasks.c.frame_id)
        .where(tasks.c.queue == found[0].queue, IS_FOLDED, WAITS)
        .where(tasks.c.folded_under.in_([task.frame_id for task in found]))
        .order_by(frames.c.stamp, tasks.c.frame_id)
    )
    siblings = defaultdict[str, list[str]](list)
    for best, frame_id in connection.execute(query):
        siblings[best].append(frame_id)
    return [replace(task, siblings=tuple(siblings.get(task.frame_id, ()))) for task in found]
