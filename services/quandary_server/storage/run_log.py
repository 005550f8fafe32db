"""What the runs of a store told as they went, line by line."""

from datetime import datetime

from sqlalchemy import insert, select

from quandary_server.storage.conflicts import again_after_conflict
from quandary_server.storage.database import Database
from quandary_server.storage.run_values import RunLine
from quandary_server.storage.runs import number_of
from quandary_server.storage.schema import run_log

__all__ = ["MAX_LINES", "RunLog"]

MAX_LINES = 1000
"""Lines read at once: a run tells some tens."""


class RunLog:
    """The lines of a store's runs."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @again_after_conflict
    def add(self, run_id: str, text: str, *, now: datetime) -> None:
        """Append a line to a run that there is."""
        with self._database.write() as connection:
            connection.execute(insert(run_log).values(run=number_of(run_id), time=now, text=text))

    def lines(self, run_id: str, *, after: int = 0) -> tuple[RunLine, ...]:
        """Return the next lines of a run, oldest first; after: the id of the last one known."""
        query = (
            select(run_log.c.id, run_log.c.time, run_log.c.text)
            .where(run_log.c.run == number_of(run_id), run_log.c.id > after)
            .order_by(run_log.c.id)
            .limit(MAX_LINES)
        )
        # ids are given before the commit: between writes no smaller one can turn up behind these
        with self._database.read(between_writes=True) as connection:
            return tuple(RunLine(row.id, row.time, row.text) for row in connection.execute(query))
