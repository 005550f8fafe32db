"""Siblings: near copies that wait folded under a task, and are not leased beside it."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import Connection, bindparam, select

from quandary_server.storage.prepared import Answer, Prepared
from quandary_server.storage.schema import IS_FOLDED, WAITS, frames, tasks
from quandary_server.storage.task_values import Task

__all__ = ["ask_siblings", "siblings_of", "with_siblings"]

FOLDED = Prepared(
    select(tasks.c.folded_under, tasks.c.frame_id)
    .join(frames, frames.c.frame_id == tasks.c.frame_id)
    .where(tasks.c.queue == bindparam("queue"), IS_FOLDED, WAITS)
    .where(tasks.c.folded_under.in_(bindparam("frame_ids", expanding=True)))
    .order_by(frames.c.stamp, tasks.c.frame_id),
    lists=["frame_ids"],
)


def ask_siblings(connection: Connection, queue: str, frame_ids: list[str]) -> Answer:
    """Ask for the frames that wait folded under each of these, by stamp: for `siblings_of`."""
    return FOLDED.send(connection, {"queue": queue, "frame_ids": frame_ids})


def siblings_of(answer: Answer) -> dict[str, tuple[str, ...]]:
    """Return the siblings by the frame that they are folded under, which is in it if it has any."""
    found: dict[str, list[str]] = {}
    row: Any
    for row in answer.rows():
        found.setdefault(row.folded_under, []).append(row.frame_id)
    return {frame_id: tuple(siblings) for frame_id, siblings in found.items()}


def with_siblings(connection: Connection, found: Sequence[Task]) -> list[Task]:
    """Return tasks of one queue with the frames that wait folded under each, by stamp."""
    if not found:
        return []
    siblings = siblings_of(ask_siblings(connection, found[0].queue, [task.frame_id for task in found]))
    return [replace(task, siblings=siblings.get(task.frame_id, ())) for task in found]
