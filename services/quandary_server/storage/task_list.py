"""What a queue holds: its tasks one by one, in pages, and counted."""

from datetime import datetime

from sqlalchemy import func, or_, select

from quandary_server.leasing.order import FOLDED_KEYS
from quandary_server.leasing.status import TaskState
from quandary_server.storage.database import Database
from quandary_server.storage.expiry import reading_settled
from quandary_server.storage.paging import Page, check_page_size, continued_behind, page_of
from quandary_server.storage.schema import CLOSED, LEASED, WAITS, queues, rejected, tasks
from quandary_server.storage.siblings import with_siblings
from quandary_server.storage.task_rows import TASKS, check_queue, load_task, task_of
from quandary_server.storage.task_values import QueueStats, Task

__all__ = ["TaskList"]


class TaskList:
    """The tasks of a store, to look at."""

    def __init__(self, database: Database, max_failed_leases: int) -> None:
        self._database = database
        self._max_failed_leases = max_failed_leases

    def queues(self) -> tuple[str, ...]:
        """Return the names of all queues."""
        with self._database.read() as connection:
            return tuple(connection.execute(select(queues.c.name).order_by(queues.c.name)).scalars())

    def get(self, queue: str, frame_id: str, *, now: datetime) -> Task:
        """Return one task; raises NotFound if there is none."""
        with reading_settled(self._database, now, self._max_failed_leases) as connection:
            return with_siblings(connection, [load_task(connection, queue, frame_id)])[0]

    def list(
        self, queue: str, state: TaskState | None = None, *, page_size: int = 50, page_token: str = "", now: datetime
    ) -> Page[Task]:
        """Return a page of a queue's tasks in lease order, of one state or all.

        The order is that of this moment: a task that moves between two pages may be missed or shown twice. Raises NotFound
        for an unknown queue, InvalidArgument for a page size outside 1 to 500 or a malformed token.
        """
        listing = f"tasks/{queue}/{state or ''}"
        after = continued_behind(listing, page_token, bytes.fromhex)
        query = TASKS.where(tasks.c.queue == queue).order_by(tasks.c.lease_key).limit(check_page_size(page_size) + 1)
        if state is not None:
            query = query.where(WAITS if state is TaskState.WAITING else tasks.c.state == state)
        if after is not None:
            query = query.where(tasks.c.lease_key > after)
        with reading_settled(self._database, now, self._max_failed_leases) as connection:
            check_queue(connection, queue)
            found = with_siblings(connection, [task_of(row) for row in connection.execute(query)])
        return page_of(listing, found, page_size, lambda task: task.place.key().hex())

    def stats(self, queue: str, *, generation: str, now: datetime) -> QueueStats:
        """Count a queue; generation: the one that its waiting tasks should be scored by. Raises NotFound."""
        here = tasks.c.queue == queue
        waiting = select(
            func.count().filter(tasks.c.lease_key < FOLDED_KEYS),
            func.count().filter(tasks.c.lease_key >= FOLDED_KEYS),
            func.count().filter(tasks.c.generation == ""),
            func.count().filter(or_(tasks.c.generation != generation, tasks.c.generation == "")),
            func.min(tasks.c.enqueued),
        ).where(here, WAITS)
        leased = select(func.count()).select_from(tasks).where(here, LEASED)
        closed = select(tasks.c.state, func.count()).where(here, CLOSED).group_by(tasks.c.state)
        with reading_settled(self._database, now, self._max_failed_leases) as connection:
            check_queue(connection, queue)
            waiting_count, folded, unscored, behind, oldest = connection.execute(waiting).one()
            ended = {row[0]: row[1] for row in connection.execute(closed)}
            return QueueStats(
                queue=queue,
                waiting=waiting_count,
                folded=folded,
                leased=connection.execute(leased).scalar_one(),
                acknowledged=ended.get(TaskState.ACKNOWLEDGED, 0),
                skipped=ended.get(TaskState.SKIPPED, 0),
                dead_letter=ended.get(TaskState.DEAD_LETTER, 0),
                unscored=unscored,
                behind=behind,
                oldest_waiting=oldest,
                rejected=connection.execute(select(func.count()).select_from(rejected)).scalar_one(),
            )
