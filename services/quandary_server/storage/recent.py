"""The frames that were scored of late."""

from sqlalchemy import exists, select

from quandary_server.storage.database import Database
from quandary_server.storage.schema import frames, tasks

__all__ = ["RecentFrames"]


class RecentFrames:
    """The newest frames of a store, whatever became of their tasks."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def scored(self, limit: int) -> tuple[bytes, ...]:
        """Return the serialised FrameRecords of frames that a generation has scored, those with the newest stamps first."""
        has_score = exists().where(tasks.c.frame_id == frames.c.frame_id, tasks.c.score.is_not(None))
        query = select(frames.c.record).where(has_score).order_by(frames.c.stamp.desc(), frames.c.frame_id).limit(limit)
        with self._database.read() as connection:
            return tuple(connection.execute(query).scalars())
