"""Scores and ranks of the tasks that wait. A leased task keeps both: nothing moves under a labeller."""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Any, TypeVar

from sqlalchemy import ColumnElement, Select, bindparam, select, update

from quandary.errors import InvalidArgument
from quandary_server.leasing.status import TaskState
from quandary_server.storage.audit import write_audit
from quandary_server.storage.conflicts import again_after_conflict
from quandary_server.storage.database import Database
from quandary_server.storage.elections import Lead, check_leads
from quandary_server.storage.expiry import expire_due, reading_settled
from quandary_server.storage.looks import PIECE_ROWS, BehindInPiece, any_leased, any_unpicked, behind_in_piece, ranked_up_to
from quandary_server.storage.many_rows import RowsOf, RowUpdate
from quandary_server.storage.piece_sizes import PieceSize
from quandary_server.storage.rank_pieces import (
    WAITING,
    Frames,
    Piece,
    RankedQuery,
    begin,
    cut,
    finish,
    is_latest,
    overdue,
    pieces,
    read_piece,
    stale,
    write_piece,
)
from quandary_server.storage.schema import WAITS, frame_scores, frames, queues, tasks
from quandary_server.storage.succession import ended_leaders, pass_on, successions
from quandary_server.storage.task_rows import KEYS, place_of, this_task, write_frame_scores
from quandary_server.storage.task_values import NewScore, ScoredTask, TakenTask

__all__ = ["Ranking"]

OF_FRAME = (frames.c.crops, frames.c.ego_position_m)

WRITE_SCORE = RowUpdate(tasks, KEYS, [tasks.c.score, tasks.c.generation, tasks.c.folded_under, tasks.c.lease_key])

OF_QUEUE = frame_scores.c.queue == bindparam("queue")
SCORES = RowsOf(select(frame_scores.c.frame_id, frame_scores.c.frame_score).where(OF_QUEUE), frame_scores.c.frame_id)

T = TypeVar("T")

NOTHING_FOLDED: Mapping[str, str] = MappingProxyType({})


class Ranking:
    """What the selector reads and writes of the waiting tasks.

    rows_at_once: in one transaction; of ranks as many as are written within `held_off`, unless that is None, by the clock
    `seconds`.
    """

    def __init__(
        self,
        database: Database,
        max_failed_leases: int,
        rows_at_once: int,
        held_off: timedelta | None = None,
        seconds: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._database = database
        self._max_failed_leases = max_failed_leases
        self._rows_at_once = rows_at_once
        self._held_off = held_off
        self._seconds = seconds

    def waiting_behind(
        self, queue: str, generation: str, *, limit: int, now: datetime, after: bytes = b"", rows: int = PIECE_ROWS
    ) -> BehindInPiece:
        """Return the first tasks, in lease order, that this generation has not scored, of `rows` that wait behind a key.

        Who goes on behind the last key of each piece has seen all of them.
        """
        with reading_settled(self._database, now, self._max_failed_leases) as connection:
            return behind_in_piece(connection, queue, generation, after=after, rows=rows, most=limit)

    def rescore(
        self, queue: str, scores: Sequence[NewScore], *, generation: str, now: datetime, lead: Lead | None = None
    ) -> int:
        """Give the tasks that still wait their new scores, by this generation; return how many. What was folded is so no more.

        In pieces, each a transaction: every task has the score of the generation that it names, and labellers lease between.
        lead: under which they were made. Raises InvalidArgument without a generation or for a frame given twice, Aborted
        where another leads by now.
        """
        if not generation:
            raise InvalidArgument.of("generation", "missing", "set")
        found = {score.frame_id: score for score in scores}
        if len(found) < len(scores):
            raise InvalidArgument.of("scores", f"{len(scores)} for {len(found)} frames", "one per frame")
        return sum(self._rescore(queue, piece, generation, now, lead) for piece in _cut(scores, self._rows_at_once))

    @again_after_conflict
    def _rescore(self, queue: str, scores: Sequence[NewScore], generation: str, now: datetime, lead: Lead | None) -> int:
        found = {score.frame_id: score for score in scores}
        with self._database.write() as connection:
            check_leads(connection, lead)
            expire_due(connection, now, self._max_failed_leases)
            rows = []
            for row in WAITING.rows(connection, {"queue": queue}, list(found)):
                place = replace(place_of(row), score=found[row.frame_id].score, folded=False)
                values = {"score": place.score, "generation": generation, "folded_under": None, "lease_key": place.key()}
                rows.append(this_task(queue, row.frame_id) | values)
            WRITE_SCORE.send(connection, rows)
            written = [row["of_frame"] for row in rows]
            write_frame_scores(connection, {(queue, frame_id): found[frame_id].frame_score for frame_id in written})
        return len(rows)

    def candidates(self, queue: str, *, now: datetime, with_tags: bool = False) -> tuple[ScoredTask, ...]:
        """Return the waiting tasks that have a score, in lease order; with_tags: with those of their frames."""
        columns = (tasks.c.frame_id, frames.c.drive_id, frames.c.stamp, tasks.c.score, tasks.c.generation, *OF_FRAME)
        query = (
            _of_frames(columns, with_tags)
            .where(tasks.c.queue == queue, WAITS, tasks.c.score.is_not(None))
            .order_by(tasks.c.lease_key)
        )
        with reading_settled(self._database, now, self._max_failed_leases) as connection:
            return tuple(ScoredTask(*row) for row in connection.execute(query))

    def taken(self, queue: str, *, now: datetime, with_tags: bool = False) -> tuple[TakenTask, ...]:
        """Return the tasks that are leased or acknowledged, by drive and stamp; with_tags: with those of their frames."""
        states = tasks.c.state.in_([TaskState.LEASED, TaskState.ACKNOWLEDGED])
        leased = tasks.c.state == TaskState.LEASED
        columns = (tasks.c.frame_id, frames.c.drive_id, frames.c.stamp, tasks.c.generation)
        query = (
            _of_frames((*columns, frames.c.crops, leased, frames.c.ego_position_m), with_tags)
            .where(tasks.c.queue == queue, states)
            .order_by(frames.c.drive_id, frames.c.stamp)
        )
        with reading_settled(self._database, now, self._max_failed_leases) as connection:
            return tuple(TakenTask(*row) for row in connection.execute(query))

    def frame_scores(self, queue: str, frame_ids: Sequence[str]) -> dict[str, bytes]:
        """Return the FrameScores of the frames' tasks, by frame, of those that have one: kilobytes each."""
        with self._database.read() as connection:
            return {row.frame_id: row.frame_score for row in SCORES.rows(connection, {"queue": queue}, frame_ids)}

    def ranks_run_out(self, queue: str, below: int, *, now: datetime) -> bool:
        """Return whether fewer than `below` ranked tasks wait while tasks with a score wait that no query picked.

        Or a query was given up half-way.

        Folded ones count only where no ranked task is left and none is leased: nothing else can be asked for then.
        """
        with reading_settled(self._database, now, self._max_failed_leases) as connection:
            if overdue(connection, queue, now):
                return True
            ranked = ranked_up_to(connection, queue, below)
            if ranked >= below:
                return False
            if any_unpicked(connection, queue, folded=False):
                return True
            alone = not ranked and not any_leased(connection, queue)
            return alone and any_unpicked(connection, queue, folded=True)

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
        In pieces, each a transaction, with a valid order after each (`rank_pieces`); ends early where a later query begins.
        generation: whose scores they go by, kept for `ranked_generation`. lead: under which they were made.
        Raises InvalidArgument for a frame given twice, or both ranked and folded; Aborted where another leads by now.
        """
        ranks = {frame_id: rank for rank, frame_id in enumerate(frame_ids)}
        if len(ranks) < len(frame_ids):
            raise InvalidArgument.of("frame_ids", f"{len(frame_ids)} with {len(ranks)} frames", "each frame once")
        if both := ranks.keys() & folded.keys():
            raise InvalidArgument.of("folded", min(both), "a frame that is not ranked")

        query = RankedQuery(queue, self._begin(queue, now, lead), ranks, folded, lead)

        size = PieceSize(self._rows_at_once, self._held_off)

        with self._database.writing_much() as wrote:
            ranked = self._write_pieces(query, pieces(query, size), size, wrote)

            with self._database.read() as connection:
                before = stale(connection, query)
            ranked += self._write_pieces(query, cut(before, size), size, wrote)

        self._finish(query, generation, now)
        return ranked

    @again_after_conflict
    def _begin(self, queue: str, now: datetime, lead: Lead | None) -> int:
        with self._database.write() as connection:
            check_leads(connection, lead)
            expire_due(connection, now, self._max_failed_leases)
            return begin(connection, queue, now)

    def _write_pieces(self, query: RankedQuery, found: Iterable[Frames], size: PieceSize, wrote: Callable[[int], None]) -> int:
        """Write the pieces until a later query begins; return how many frames were ranked. wrote: told of the rows of each."""
        ranked = 0
        for piece in found:
            written = self._write_piece(query, piece, size)
            if written is None:
                break
            picked, others = written
            query.ranks.update(others)
            ranked += picked + len(others)
            wrote(len(piece))
        return ranked

    @again_after_conflict
    def _write_piece(self, query: RankedQuery, piece: Frames, size: PieceSize) -> tuple[int, dict[str, int]] | None:
        read = Piece([], {})
        if piece.others:
            with self._database.read() as connection:
                read = read_piece(connection, query, piece.others)
        with self._database.write() as connection:  # as short as can be: whoever leases waits for it
            began_s = self._seconds()
            check_leads(connection, query.lead)
            written = write_piece(connection, query, piece, read) if is_latest(connection, query) else None
        size.took(len(piece), self._seconds() - began_s)
        return written

    @again_after_conflict
    def _finish(self, query: RankedQuery, generation: str, now: datetime) -> None:
        with self._database.write() as connection:
            check_leads(connection, query.lead)
            if finish(connection, query):
                # what was given up between the reading and the writing of a piece
                heirs = pass_on(connection, ended_leaders(connection, query.queue))
                write_audit(connection, successions(heirs, subject="", now=now))
                of_queue = queues.c.name == query.queue
                connection.execute(update(queues).where(of_queue).values(ranked_generation=generation or None))

    def ranked_generation(self, queue: str) -> str:
        """Return whose scores a queue's last query ranked; empty before the first."""
        query = select(queues.c.ranked_generation).where(queues.c.name == queue)
        with self._database.read() as connection:
            return connection.execute(query).scalar_one_or_none() or ""


def _of_frames(columns: Sequence[ColumnElement[Any]], with_tags: bool) -> Select[Any]:
    """Return a query for columns of tasks and their frames, and behind them for the tags, where asked for."""
    query = select(*columns, *((frames.c.tags,) if with_tags else ()))
    return query.select_from(tasks).join(frames, frames.c.frame_id == tasks.c.frame_id)


def _cut(found: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    for start in range(0, len(found), size):
        yield found[start : start + size]
