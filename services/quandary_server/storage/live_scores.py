"""The scores that frames got as they came in, to tell whether they are still what they were."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Row, select

from quandary_server.storage.database import Database
from quandary_server.storage.schema import frames, tasks

__all__ = ["LiveScores", "ScoreSample"]


@dataclass(frozen=True, slots=True)
class ScoreSample:
    """Scores of frames, and the drive of each."""

    scores: tuple[float, ...]
    drives: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.scores)


class LiveScores:
    """The scores of a store's frames in the order in which those were enqueued, whatever became of the tasks since."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def first_and_last(self, generation: str, *, since: datetime, count: int) -> tuple[ScoreSample, ScoreSample]:
        """Return the scores by a generation of the first and of the last `count` frames enqueued since a time.

        No frame is in both: where there are fewer than twice as many, the last ones are fewer. Reads all tasks.
        """
        query = (
            select(tasks.c.score, frames.c.drive_id)
            .join(frames, frames.c.frame_id == tasks.c.frame_id)
            .where(tasks.c.generation == generation, tasks.c.enqueued >= since)
        )
        forwards = query.order_by(tasks.c.enqueued, tasks.c.frame_id)
        backwards = query.order_by(tasks.c.enqueued.desc(), tasks.c.frame_id.desc())
        with self._database.read() as connection:
            first = connection.execute(forwards.limit(count)).all()
            last = connection.execute(forwards.offset(count).limit(count)).all()
            if len(last) == count:
                last = connection.execute(backwards.limit(count)).all()
        return _sample(first), _sample(last)


def _sample(rows: Sequence[Row[Any, Any]]) -> ScoreSample:
    return ScoreSample(tuple(row.score for row in rows), tuple(row.drive_id for row in rows))
