"""The training runs of a store: one at a time, each with a heartbeat."""

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
from quandary_server.storage.run_values import Run, RunStage, RunState, RunTrigger
from quandary_server.storage.schema import RUNNING, runs

__all__ = ["RunChanges", "Runs"]

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


class Runs:
    """The training runs of a store."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @again_after_conflict
    def create(
        self, *, trigger: RunTrigger, requester: str = "", settings: Mapping[str, Any] | None = None, now: datetime
    ) -> Run:
        """Start the next run; it has seen the labels there are now. Raises WrongState, naming it, while another is running."""
        with self._database.write() as connection:
            running = connection.execute(select(runs.c.number).where(RUNNING)).scalar_one_or_none()
            if running is not None:
                raise WrongState(f"{_id(running)} is running")
            number = counters.draw(connection, counters.RUNS)
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
            )
            values = {column.name: getattr(run, column.name) for column in runs.c if column.name != "number"}
            _check_json(values)
            connection.execute(insert(runs).values(number=number, **values))
        return run

    def update(self, run_id: str, *, now: datetime, **changes: Unpack[RunChanges]) -> Run:
        """Change a running run, or nothing but its heartbeat.

        Raises NotFound for an unknown run and WrongState for one that is over: whoever was taken for dead stops here.
        InvalidArgument for a progress outside [0, 1], or NaN or infinity in gates and metrics.
        """
        progress = changes.get("stage_progress", 0.0)
        if not 0 <= progress <= 1:
            raise InvalidArgument.of("stage_progress", progress, "in [0, 1]")
        return self._write(run_id, {**changes, "heartbeat": now})

    def finish(self, run_id: str, state: RunState, *, now: datetime, error: str = "", **changes: Unpack[RunChanges]) -> Run:
        """End a running run in this state. Raises as `update` does, and InvalidArgument for the state RUNNING."""
        if state is RunState.RUNNING:
            raise InvalidArgument.of("state", state.value, "a state in which a run is over")
        over = {"state": state, "end_time": now, "heartbeat": now, "error": error}
        return self._write(run_id, {"stage": RunStage.DONE, "stage_progress": 1.0, **changes, **over})

    @again_after_conflict
    def note_rolled_back(self, run_id: str, *, error: str) -> None:
        """Write to a run that is over why its generation was rolled back; nothing where there is no such run."""
        with self._database.write() as connection:
            number = _number(run_id)
            row = connection.execute(select(runs.c.metrics).where(runs.c.number == number, ~RUNNING)).one_or_none()
            if row is not None:
                values = {"error": error, "metrics": {**row.metrics, "rolled_back": 1.0}}
                connection.execute(update(runs).where(runs.c.number == number).values(**values))

    @again_after_conflict
    def fail_interrupted(self, *, now: datetime, older_than: timedelta) -> tuple[Run, ...]:
        """Mark as failed what runs without a heartbeat since `older_than`, and return it. Its stage stays where it broke."""
        with self._database.write() as connection:
            silent = (RUNNING, runs.c.heartbeat < now - older_than)
            found = tuple(map(_run_of, connection.execute(select(runs).where(*silent))))
            for run in found:
                error = f"interrupted: no heartbeat since {run.heartbeat.isoformat()}"
                values = {"state": RunState.FAILED, "end_time": now, "error": error}
                connection.execute(update(runs).where(runs.c.number == _number(run.id)).values(**values))
            return tuple(_load(connection, run.id) for run in found)

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
        return page_of(listing, found, page_size, lambda run: _number(run.id))

    @again_after_conflict
    def _write(self, run_id: str, values: Mapping[str, Any]) -> Run:
        _check_json(values)
        with self._database.write() as connection:
            run = _load(connection, run_id)
            if run.state is not RunState.RUNNING:
                raise WrongState(f"{run_id} is {run.state}")
            connection.execute(update(runs).where(runs.c.number == _number(run_id)).values(**values))
            return _load(connection, run_id)


def _load(connection: Connection, run_id: str) -> Run:
    number = _number(run_id)
    row = connection.execute(select(runs).where(runs.c.number == number)).one_or_none() if number else None
    if row is None:
        raise NotFound(f"there is no run {run_id}")
    return _run_of(row)


def _run_of(row: Row[Any]) -> Run:
    values = dict(row._mapping)
    gates = tuple(values.pop("gates"))
    return Run(id=_id(values.pop("number")), gates=gates, **values)


def _id(number: int) -> str:
    return f"run-{number:06d}"


def _number(run_id: str) -> int:
    # 0, which no run has, for an id that is none of ours
    digits = re.fullmatch(r"run-(\d{6,18})", run_id, re.ASCII)
    return int(digits[1]) if digits and _id(int(digits[1])) == run_id else 0


def _check_json(values: Mapping[str, Any]) -> None:
    for name in ("settings", "gates", "metrics"):
        try:
            json.dumps(values.get(name), allow_nan=False)
        except (TypeError, ValueError) as error:
            raise InvalidArgument.of(name, values[name], f"JSON ({error})") from None
