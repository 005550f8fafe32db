"""Scores and ranks of the tasks that wait. A leased task keeps both: nothing moves under a labeller."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from types import MappingProxyType
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, func, null, select, update

from quandary.errors import InvalidArgument
from quandary_server.leasing.order import Place
from quandary_server.leasing.status import TaskState
from quandary_server.storage.conflicts import again_after_conflict
from quandary_server.storage.database import Database
from quandary_server.storage.elections import Lead, check_leads
from quandary_server.storage.expiry import expire_due, reading_settled
from quandary_server.storage.schema import IS_FOLDED, LEASED, WAITS, frame_scores, frames, queues, tasks
from quandary_server.storage.succession import fold_under_none_that_ended
from quandary_server.storage.task_rows import TASKS, THIS_TASK, place_of, task_of, this_task, write_frame_scores
from quandary_server.storage.task_values import NewScore, ScoredTask, TakenTask, Task

__all__ = ["Ranking"]

IDS_PER_QUERY = 5_000
OF_FRAME = (frames.c.crops, frames.c.ego_position_m)

Standing = tuple[Place, str | None]
"""A task's place, and the frame that it is folded under."""

NOTHING_FOLDED: Mapping[str, str] = MappingProxyType({})


class Ranking:
    """What the selector reads and writes of the waiting tasks."""

    def __init__(self, database: Database, max_failed_leases: int) -> None:
        self._database = database
        self._max_failed_leases = max_failed_leases

    def waiting_behind(self, queue: str, generation: str, *, limit: int, now: datetime) -> tuple[Task, ...]:
        """Return the first `limit` waiting tasks, in lease order, that this generation has not scored."""
        query = TASKS.where(tasks.c.queue == queue, WAITS, tasks.c.generation != generation).order_by(tasks.c.lease_key)
        with reading_settled(self._database, now, self._max_failed_leases) as connection:
            return tuple(map(task_of, connection.execute(query.limit(limit))))

    @again_after_conflict
    def rescore(
        self, queue: str, scores: Sequence[NewScore], *, generation: str, now: datetime, lead: Lead | None = None
    ) -> int:
        """Give the tasks that still wait their new scores, by this generation; return how many. What was folded is so no more.

        lead: under which they were made. Raises InvalidArgument without a generation or for a frame given twice, Aborted
        where another leads by now.
        """
        if not generation:
            raise InvalidArgument.of("generation", "missing", "set")
        found = {score.frame_id: score for score in scores}
        if len(found) < len(scores):
            raise InvalidArgument.of("scores", f"{len(scores)} for {len(found)} frames", "one per frame")
        with self._database.write() as connection:
            check_leads(connection, lead)
            expire_due(connection, now, self._max_failed_leases)
            waiting = _waiting(connection, queue, list(found))
            rows = [
                _placed(queue, replace(place, score=found[frame_id].score), None) | {"generation": generation}
                for frame_id, (place, _) in waiting.items()
            ]
            _write(connection, rows)
            write_frame_scores(connection, {(queue, frame_id): found[frame_id].frame_score for frame_id in waiting})
        return len(rows)

    def candidates(
        self, queue: str, *, now: datetime, with_scores: bool = False, with_tags: bool = False
    ) -> tuple[ScoredTask, ...]:
        """Return the waiting tasks that have a score, in lease order.

        with_scores: with their FrameScores, kilobytes each. with_tags: with those of their frames.
        """
        columns = (tasks.c.frame_id, frames.c.drive_id, frames.c.stamp, tasks.c.score, tasks.c.generation, *OF_FRAME)
        query = (
            _of_frames(columns, with_scores, with_tags)
            .where(tasks.c.queue == queue, WAITS, tasks.c.score.is_not(None))
            .order_by(tasks.c.lease_key)
        )
        with reading_settled(self._database, now, self._max_failed_leases) as connection:
            return tuple(ScoredTask(*row) for row in connection.execute(query))

    def taken(self, queue: str, *, now: datetime, with_scores: bool = False, with_tags: bool = False) -> tuple[TakenTask, ...]:
        """Return the tasks that are leased or acknowledged, by drive and stamp; with_scores, with_tags as of candidates."""
        states = tasks.c.state.in_([TaskState.LEASED, TaskState.ACKNOWLEDGED])
        leased = tasks.c.state == TaskState.LEASED
        columns = (tasks.c.frame_id, frames.c.drive_id, frames.c.stamp, tasks.c.generation)
        query = (
            _of_frames((*columns, frames.c.crops, leased, frames.c.ego_position_m), with_scores, with_tags)
            .where(tasks.c.queue == queue, states)
            .order_by(frames.c.drive_id, frames.c.stamp)
        )
        with reading_settled(self._database, now, self._max_failed_leases) as connection:
            return tuple(TakenTask(*row) for row in connection.execute(query))

    def ranks_run_out(self, queue: str, below: int, *, now: datetime) -> bool:
        """Return whether fewer than `below` ranked tasks wait while tasks with a score wait that no query picked.

        Folded ones count only where no ranked task is left and none is leased: nothing else can be asked for then.
        """
        here = select(func.count()).select_from(tasks).where(tasks.c.queue == queue, WAITS)
        with reading_settled(self._database, now, self._max_failed_leases) as connection:
            ranked = connection.execute(here.where(tasks.c.rank.is_not(None))).scalar_one()
            if ranked >= below:
                return False
            unpicked = here.where(tasks.c.rank.is_(None), tasks.c.score.is_not(None))
            if connection.execute(unpicked.where(~IS_FOLDED)).scalar_one():
                return True
            leased = select(func.count()).select_from(tasks).where(tasks.c.queue == queue, LEASED)
            alone = not ranked and not connection.execute(leased).scalar_one()
            return alone and bool(connection.execute(unpicked).scalar_one())

    @again_after_conflict
    def write_ranks(
        self,
        queue: str,
        frame_ids: Sequence[str],
        *,
        folded: Mapping[str, str] = NOTHING_FOLDED,
        now: datetime,
        generation: str = "",
        lead: Lead | None = None,
    ) -> int:
        """Rank the frames' tasks 0, 1, ... as given, clear the rank of all others; return how many were ranked.

        folded: near copies, each with the frame that it is folded under; nothing else is folded afterwards. Nor is what
        stands in a band before that frame's, for it was put there to be labelled: it is ranked behind the others. Nor what
        would be folded under a frame that has been given up meanwhile.
        Only tasks that wait are touched: one that was leased meanwhile keeps the rank it had and leaves its new one unused.
        generation: whose scores they go by, kept for `ranked_generation`. lead: under which they were made.
        Raises InvalidArgument for a frame given twice, or both ranked and folded; Aborted where another leads by now.
        """
        ranks = {frame_id: rank for rank, frame_id in enumerate(frame_ids)}
        if len(ranks) < len(frame_ids):
            raise InvalidArgument.of("frame_ids", f"{len(frame_ids)} with {len(ranks)} frames", "each frame once")
        if both := ranks.keys() & folded.keys():
            raise InvalidArgument.of("folded", min(both), "a frame that is not ranked")
        with self._database.write() as connection:
            check_leads(connection, lead)
            expire_due(connection, now, self._max_failed_leases)
            folded = fold_under_none_that_ended(connection, queue, folded)
            before = _waiting(connection, queue, [*ranks, *folded]) | _placed_before(connection, queue)
            kept = _folded_within_bands(connection, queue, folded, before)
            for frame_id in (frame_id for frame_id in folded if frame_id in before and frame_id not in kept):
                ranks[frame_id] = len(ranks)
            rows = []
            for frame_id, (place, under) in before.items():
                rank, best = ranks.get(frame_id), kept.get(frame_id)
                if (rank, best) != (place.rank, under):
                    rows.append(_placed(queue, replace(place, rank=rank), best))
            _write(connection, rows)
            connection.execute(update(queues).where(queues.c.name == queue).values(ranked_generation=generation or None))
        return len(ranks.keys() & before.keys())

    def ranked_generation(self, queue: str) -> str:
        """Return whose scores a queue's last query ranked; empty before the first."""
        query = select(queues.c.ranked_generation).where(queues.c.name == queue)
        with self._database.read() as connection:
            return connection.execute(query).scalar_one_or_none() or ""


def _of_frames(columns: Sequence[ColumnElement[Any]], with_scores: bool, with_tags: bool) -> Select[Any]:
    """Return a query for columns of tasks and their frames, and behind them for the FrameScore and tags, where asked for."""
    score = frame_scores.c.frame_score if with_scores else null()
    query = select(*columns, score, *((frames.c.tags,) if with_tags else ()))
    query = query.select_from(tasks).join(frames, frames.c.frame_id == tasks.c.frame_id)
    if not with_scores:
        return query
    this = (frame_scores.c.queue == tasks.c.queue) & (frame_scores.c.frame_id == tasks.c.frame_id)
    return query.outerjoin(frame_scores, this)


def _waiting(connection: Connection, queue: str, frame_ids: Sequence[str]) -> dict[str, Standing]:
    found: dict[str, Standing] = {}
    for ids in _batches(frame_ids):
        query = select(tasks).where(tasks.c.queue == queue, WAITS, tasks.c.frame_id.in_(ids))
        found |= _standing(connection, query)
    return found


def _folded_within_bands(
    connection: Connection, queue: str, folded: Mapping[str, str], waiting: Mapping[str, Standing]
) -> dict[str, str]:
    """Return those of the folded that wait, and not in a band before that of the frame that they are folded under."""
    bands: dict[str, int] = {}
    for ids in _batches(sorted(set(folded.values()))):
        query = select(tasks.c.frame_id, tasks.c.band).where(tasks.c.queue == queue, tasks.c.frame_id.in_(ids))
        bands |= {row.frame_id: row.band for row in connection.execute(query)}
    found = ((frame_id, best) for frame_id, best in folded.items() if frame_id in waiting)
    return {frame_id: best for frame_id, best in found if waiting[frame_id][0].band >= bands.get(best, 0)}


def _placed_before(connection: Connection, queue: str) -> dict[str, Standing]:
    """Return where the waiting tasks stand that a query ranked or folded."""
    return _standing(connection, select(tasks).where(tasks.c.queue == queue, WAITS, tasks.c.rank.is_not(None) | IS_FOLDED))


def _standing(connection: Connection, query: Select[Any]) -> dict[str, Standing]:
    return {row.frame_id: (place_of(row), row.folded_under) for row in connection.execute(query)}


def _placed(queue: str, place: Place, folded_under: str | None) -> dict[str, Any]:
    place = replace(place, folded=folded_under is not None)
    values = {"rank": place.rank, "score": place.score, "folded_under": folded_under, "lease_key": place.key()}
    return this_task(queue, place.frame_id) | values


def _write(connection: Connection, rows: list[dict[str, Any]]) -> None:
    if rows:
        connection.execute(update(tasks).where(THIS_TASK), rows)


def _batches(frame_ids: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(frame_ids), IDS_PER_QUERY):
        yield frame_ids[start : start + IDS_PER_QUERY]
