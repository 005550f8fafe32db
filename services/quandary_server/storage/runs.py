"""The training runs of a store: one at a time, each with a heartbeat and a trainer that holds it."""

import json
import re
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, TypedDict, Unpack

from sqlalchemy import Connection, Row, func, insert, select, update

from quandary.errors import InvalidArgument, NotFound, WrongState
from quandary_server.storage import counters
from quandary_server.storage.conflicts import again_after_conflict
from quandary_server.storage.database import Database
from quandary_server.storage.paging import Page, check_page_size, continued_behind, page_of, serial
from quandary_server.storage.run_values import Run, RunStage, RunState, RunTaken, RunTrigger
from quandary_server.storage.schema import RUNNING, run_log, runs

__all__ = ["RunChanges", "Runs", "number_of"]

# its trainer died in it: a run that fails by itself ends in the stage DONE
INTERRUPTED = (runs.c.state == RunState.FAILED) & (runs.c.stage != RunStage.DONE)


class RunChanges(TypedDict, total=False):
    """What a trainer may change of its run; see Run."""

    stage: RunStage
    stage_progress: float
    label_sequence: int
    training_frames: int
    training_crops: int
    control_crops: int
    generation: str
    gates: Sequence[Mapping[str, Any]]
    metrics: Mapping[str, float]
    settings: Mapping[str, Any]


class Runs:
    """The training runs of a store."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @again_after_conflict
    def create(
        self,
        *,
        trigger: RunTrigger,
        requester: str = "",
        settings: Mapping[str, Any] | None = None,
        holder: str = "",
        after: str | None = None,
        now: datetime,
    ) -> Run:
        """Start the next run, held by a trainer; it has seen the labels there are now.

        after: the newest run that the caller knew when it decided, empty for none; None: whichever. Raises WrongState, naming
        it, while another is running, and where another came since.
        """
        with self._database.write() as connection:
            running = connection.execute(select(runs.c.number).where(RUNNING)).scalar_one_or_none()
            if running is not None:
                raise WrongState(f"{_id(running)} is running")
            number = counters.draw(connection, counters.RUNS)
            if after is not None and number - 1 != number_of(after):
                raise WrongState(f"{_id(number - 1)} came first")
            run = Run(
                id=_id(number),
                state=RunState.RUNNING,
                stage=RunStage.SNAPSHOT,
                stage_progress=0.0,
                trigger=trigger,
                requester=requester,
                start_time=now,
                end_time=None,
                heartbeat=now,
                settings=settings or {},
                label_sequence=counters.last_drawn(connection, counters.LABELS),
                holder=holder,
            )
            values = {column.name: getattr(run, column.name) for column in runs.c if column.name != "number"}
            _check_json(values)
            connection.execute(insert(runs).values(number=number, **values))
        return run

    def update(self, run_id: str, *, now: datetime, holder: str | None = None, **changes: Unpack[RunChanges]) -> Run:
        """Change a running run, or nothing but its heartbeat; holder: who does so, None for anybody.

        Raises NotFound for an unknown run and RunTaken for one that is over or is held by another trainer.
        InvalidArgument for a progress outside [0, 1], or NaN or infinity in settings, gates and metrics.
        """
        progress = changes.get("stage_progress", 0.0)
        if not 0 <= progress <= 1:
            raise InvalidArgument.of("stage_progress", progress, "in [0, 1]")
        return self._write(run_id, holder, {**changes, "heartbeat": now})

    def finish(
        self,
        run_id: str,
        state: RunState,
        *,
        now: datetime,
        holder: str | None = None,
        error: str = "",
        **changes: Unpack[RunChanges],
    ) -> Run:
        """End a running run in this state. Raises as `update` does, and InvalidArgument for the state RUNNING."""
        if state is RunState.RUNNING:
            raise InvalidArgument.of("state", state.value, "a state in which a run is over")
        over = {"state": state, "end_time": now, "heartbeat": now, "error": error}
        return self._write(run_id, holder, {"stage": RunStage.DONE, "stage_progress": 1.0, **changes, **over})

    @again_after_conflict
    def note_rolled_back(self, run_id: str, *, error: str) -> None:
        """Write to a run that is over why its generation was rolled back; nothing where there is no such run."""
        with self._database.write() as connection:
            number = number_of(run_id)
            row = connection.execute(select(runs.c.metrics).where(runs.c.number == number, ~RUNNING)).one_or_none()
            if row is not None:
                values = {"error": error, "metrics": {**row.metrics, "rolled_back": 1.0}}
                connection.execute(update(runs).where(runs.c.number == number).values(**values))

    @again_after_conflict
    def cancel(self, run_id: str, *, by: str, now: datetime) -> Run:
        """End a running run because somebody said so, and return it; one that was cancelled before is returned as it is.

        Its trainer stops at its next write. Raises NotFound, and WrongState for a run that is over otherwise or that promotes
        already: its generation is rolled back, not its run.
        """
        with self._database.write() as connection:
            run = _load(connection, run_id, to_change=True)
            if run.state is RunState.CANCELLED:
                return run
            if run.state is not RunState.RUNNING:
                raise WrongState(f"{run_id} is {run.state}")
            if run.stage is RunStage.PROMOTE:
                raise WrongState(f"{run_id} promotes {run.generation} already: roll back once it has ended")
            over = {"state": RunState.CANCELLED, "stage": RunStage.DONE, "stage_progress": 1.0, "end_time": now}
            where = f" in stage {run.stage}" if run.stage is not RunStage.DONE else ""
            _change(connection, run_id, {**over, "error": f"cancelled by {by}{where}"})
            return _told(connection, _load(connection, run_id))

    @again_after_conflict
    def release(self, run_id: str, *, holder: str, now: datetime) -> None:
        """Let go of a run whose trainer stops in good order: the next one goes on with it at once. Raises RunTaken."""
        with self._database.write() as connection:
            _check_held(_load(connection, run_id, to_change=True), holder)
            _change(connection, run_id, {"holder": "", "heartbeat": now})

    @again_after_conflict
    def take_over(
        self, *, holder: str, older_than: timedelta, resumptions: int, now: datetime, stopped: datetime | None = None
    ) -> Run | None:
        """Take the running run that its trainer let go of, or that has had no heartbeat for `older_than`; None where none is.

        stopped: a heartbeat that the caller has seen unchanged for that long, whatever the clocks say of it.

        One whose trainer died once more than `resumptions` times is failed instead, as the returned run says; what it saw of
        the labels counts as seen, or it would start again for ever. With resumptions 0 none is taken: it fails in the stage
        where it broke, and its labels are new again.
        """
        with self._database.write() as connection:
            row = connection.execute(select(runs).where(RUNNING).with_for_update()).one_or_none()
            if row is None:
                return None
            run = _run_of(row)
            if run.holder and run.heartbeat >= now - older_than and run.heartbeat != stopped:
                return None
            _change(connection, run.id, _taken(run, holder, resumptions, now))
            return _told(connection, _load(connection, run.id))

    def get(self, run_id: str) -> Run:
        """Return one run; raises NotFound if there is none."""
        with self._database.read() as connection:
            return _load(connection, run_id)

    def newest_label_seen(self) -> int:
        """Return the largest label_sequence of the runs, 0 before the first. An interrupted run saw nothing."""
        with self._database.read() as connection:
            query = select(func.coalesce(func.max(runs.c.label_sequence), 0)).where(~INTERRUPTED)
            return int(connection.execute(query).scalar_one())

    def list(self, *, state: RunState | None = None, page_size: int = 50, page_token: str = "") -> Page[Run]:
        """Return a page of the runs, newest first, of one state or all.

        Raises InvalidArgument for a page size outside 1 to 500 or a malformed token.
        """
        listing = f"runs/{state or ''}"
        before = continued_behind(listing, page_token, serial)
        query = select(runs).order_by(runs.c.number.desc()).limit(check_page_size(page_size) + 1)
        if state is not None:
            query = query.where(runs.c.state == state)
        if before is not None:
            query = query.where(runs.c.number < before)
        with self._database.read() as connection:
            found = [_run_of(row) for row in connection.execute(query)]
        return page_of(listing, found, page_size, lambda run: number_of(run.id))

    def newest(self) -> Run | None:
        """Return the newest run, None before the first."""
        items = self.list(page_size=1).items
        return items[0] if items else None

    def newest_of(self, trigger: RunTrigger) -> Run | None:
        """Return the newest run that this started, None where none was."""
        query = select(runs).where(runs.c.trigger == trigger).order_by(runs.c.number.desc()).limit(1)
        with self._database.read() as connection:
            row = connection.execute(query).one_or_none()
        return None if row is None else _run_of(row)

    @again_after_conflict
    def _write(self, run_id: str, holder: str | None, values: Mapping[str, Any]) -> Run:
        _check_json(values)
        with self._database.write() as connection:
            _check_held(_load(connection, run_id, to_change=True), holder)
            _change(connection, run_id, values)
            return _told(connection, _load(connection, run_id))


def _taken(run: Run, holder: str, resumptions: int, now: datetime) -> dict[str, Any]:
    """What becomes of a run that nobody carries."""
    if not run.holder:
        return {"holder": holder, "heartbeat": now}
    over = {"state": RunState.FAILED, "end_time": now}
    if not resumptions:
        return {**over, "error": f"interrupted: no heartbeat since {run.heartbeat.isoformat()}"}
    if run.resumptions >= resumptions:
        often = f"its trainer died {run.resumptions + 1} times, the last time in stage {run.stage}"
        error = f"interrupted: {often}; a run is resumed at most {resumptions} times"
        return {**over, "stage": RunStage.DONE, "error": error}
    return {"holder": holder, "heartbeat": now, "resumptions": run.resumptions + 1}


def _told(connection: Connection, run: Run) -> Run:
    """Return a run that was changed; where that ended it, with a last line in its log."""
    if run.end_time is not None:
        took = (run.end_time - run.start_time).total_seconds()
        text = f"{run.state.value} after {took:.1f} s{f': {run.error}' if run.error else ''}"
        connection.execute(insert(run_log).values(run=number_of(run.id), time=run.end_time, text=text))
    return run


def _check_held(run: Run, holder: str | None) -> None:
    if run.state is not RunState.RUNNING:
        raise RunTaken(f"{run.id} is {run.state}")
    if holder is not None and run.holder != holder:
        raise RunTaken(f"{run.id} is carried on by another trainer")


def _change(connection: Connection, run_id: str, values: Mapping[str, Any]) -> None:
    connection.execute(update(runs).where(runs.c.number == number_of(run_id)).values(**values))


def _load(connection: Connection, run_id: str, *, to_change: bool = False) -> Run:
    number, query = number_of(run_id), select(runs).where(runs.c.number == number_of(run_id))
    # nobody else takes it over between the look and the change
    query = query.with_for_update() if to_change else query
    row = connection.execute(query).one_or_none() if number else None
    if row is None:
        raise NotFound(f"there is no run {run_id}")
    return _run_of(row)


def _run_of(row: Row[Any]) -> Run:
    values = dict(row._mapping)
    gates = tuple(values.pop("gates"))
    return Run(id=_id(values.pop("number")), gates=gates, **values)


def _id(number: int) -> str:
    return f"run-{number:06d}"


def number_of(run_id: str) -> int:
    """Return the number of a run by its id; 0, which no run has, for an id that is none of ours."""
    digits = re.fullmatch(r"run-(\d{6,18})", run_id, re.ASCII)
    return int(digits[1]) if digits and _id(int(digits[1])) == run_id else 0


def _check_json(values: Mapping[str, Any]) -> None:
    for name in ("settings", "gates", "metrics"):
        try:
            json.dumps(values.get(name), allow_nan=False)
        except (TypeError, ValueError) as error:
            raise InvalidArgument.of(name, values[name], f"JSON ({error})") from None
