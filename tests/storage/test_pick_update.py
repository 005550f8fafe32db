"""Ranks written by one statement: the keys are those that Place makes, and a large queue is not gone through."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import event, select

from quandary_server.leasing.order import PriorityBand
from quandary_server.storage import Store
from quandary_server.storage.opening import open_database, url_of
from quandary_server.storage.options import DEFAULTS
from quandary_server.storage.pick_update import write_picks
from quandary_server.storage.revisions import StoreSchema
from quandary_server.storage.schema import tasks
from quandary_server.storage.task_rows import place_of

NOW = datetime(2026, 1, 1, 12, 0, tzinfo=UTC)
FIRST = (2**31 - 1) * 2**32
PICKED = ["f002", "f000", "f009", "f001", "f003", "f004"]


def test_the_keys_are_those_of_the_places(store: Store, place: str, fill: Callable[..., Any]) -> None:
    fill(0.5, None, 0.3, 0.2, 0.1, 0.0)
    store.priorities.pin("active", "f000", pinned=True, subject="olga", now=NOW)
    store.priorities.set_band("active", "f001", PriorityBand.SAFETY, subject="olga", now=NOW)
    store.ranking.write_ranks("active", ["f003"], folded={"f002": "f003"}, now=NOW)
    (leased,) = store.leases.lease("active", holder="ada", max_tasks=1, duration=datetime.resolution, now=NOW)
    assert leased.frame_id == "f000"
    database = open_database(url_of(place), StoreSchema(may_upgrade=False), DEFAULTS)
    try:
        with database.write() as connection:
            assert write_picks(connection, "active", PICKED, FIRST) == 4, "one is leased, and one is no task"
        with database.read() as connection:
            rows = connection.execute(select(tasks).order_by(tasks.c.frame_id)).all()
    finally:
        database.close()
    assert all(row.lease_key == place_of(row).key() for row in rows)
    assert [row.rank for row in rows] == [None, FIRST + 3, FIRST, FIRST + 4, FIRST + 5, None]
    assert [row.folded_under for row in rows] == [None] * 6


@pytest.mark.parametrize("places", ["sqlite"], indirect=True)
def test_each_row_is_found_by_its_frame_in_a_file_without_statistics(place: str) -> None:
    sent: list[tuple[str, Any]] = []
    database = open_database(url_of(place), StoreSchema(may_upgrade=False), DEFAULTS)
    try:
        with database.write() as connection:
            event.listen(connection, "before_cursor_execute", lambda *given: sent.append((given[2], given[3])))
            write_picks(connection, "active", PICKED, FIRST)
    finally:
        database.close()
    (statement, values), *_ = sent
    with closing(sqlite3.connect(place)) as opened:
        plan = [row[3] for row in opened.execute(f"EXPLAIN QUERY PLAN {statement}", values)]
    assert plan[0].startswith("SCAN given")
    assert plan[1] == "SEARCH tasks USING INDEX tasks_of_frame (frame_id=?)"
