"""Transactions that wait for each other are committed together, and each is still one for itself."""

import os
import sqlite3
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import Connection, create_engine, event, text

from quandary_server.storage.conflicts import WriteConflict
from quandary_server.storage.shared_commit import TOGETHER_AT_MOST, SharedCommit


class Ledger:
    """A table of numbers in a file, written through one SharedCommit; commits: how many there were."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.engine = create_engine(f"sqlite:///{path}", pool_size=1, max_overflow=0)
        self.commits = 0
        self.broken = False
        event.listen(self.engine, "connect", lambda connection, _: setattr(connection, "isolation_level", None))
        event.listen(self.engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN IMMEDIATE"))
        event.listen(self.engine, "commit", self._commit)
        with self.engine.begin() as connection:
            connection.execute(text("CREATE TABLE numbers (number INTEGER PRIMARY KEY)"))
        self.commits = 0
        self.writes = SharedCommit(self.engine.begin)

    def _commit(self, _: Connection) -> None:
        self.commits += 1
        if self.broken:
            raise OSError("no disk")

    def kept(self) -> list[int]:
        """What another program finds in the file."""
        connection = sqlite3.connect(self.path)
        try:
            return [row[0] for row in connection.execute("SELECT number FROM numbers ORDER BY number")]
        finally:
            connection.close()

    def add(self, number: int, then: Callable[[], object] = lambda: None) -> None:
        with self.writes.beside() as connection:
            connection.execute(text("INSERT INTO numbers VALUES (:number)"), {"number": number})
            then()


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    made = Ledger(tmp_path / "numbers.db")
    yield made
    made.engine.dispose()


@contextmanager
def behind_one_that_holds(ledger: Ledger, count: int, call: Callable[[int], None]) -> Iterator[list["Future[None]"]]:
    """Let calls 1 to `count` wait in this order behind number 0, which goes on once all wait; all are over at the end."""
    with ThreadPoolExecutor(count + 1) as pool:
        held, go_on = threading.Event(), threading.Event()

        def hold() -> None:
            held.set()
            go_on.wait()

        first = pool.submit(ledger.add, 0, hold)
        held.wait()
        calls = [first]
        for number in range(1, count + 1):
            calls.append(pool.submit(call, number))
            while ledger.writes.waiting < number:
                os.sched_yield()
        go_on.set()
        yield calls


def test_one_alone_is_committed_at_once(ledger: Ledger) -> None:
    ledger.add(1)
    assert (ledger.kept(), ledger.commits) == ([1], 1)


def test_those_that_wait_are_committed_together_each_before_it_returns(ledger: Ledger) -> None:
    def add(number: int) -> None:
        ledger.add(number)
        assert number in ledger.kept()

    with behind_one_that_holds(ledger, 5, add) as calls:
        for call in calls:
            call.result()
    assert (ledger.kept(), ledger.commits) == ([0, 1, 2, 3, 4, 5], 1)


def test_not_too_many_are_committed_together(ledger: Ledger) -> None:
    with behind_one_that_holds(ledger, TOGETHER_AT_MOST, ledger.add) as calls:
        for call in calls:
            call.result()
    assert ledger.commits == 2


def test_one_that_fails_undoes_its_own_part_alone(ledger: Ledger) -> None:
    def fail() -> None:
        raise ValueError("not this one")

    with behind_one_that_holds(ledger, 3, lambda number: ledger.add(number, fail if number == 2 else lambda: None)) as calls:
        with pytest.raises(ValueError, match="not this one"):
            calls[2].result()
        for call in (calls[0], calls[1], calls[3]):
            call.result()
    assert ledger.kept() == [0, 1, 3]


def test_what_is_written_alone_is_committed_by_itself(ledger: Ledger) -> None:
    def alone(number: int) -> None:
        with ledger.writes.alone() as connection:
            assert ledger.kept() == [0]
            connection.execute(text("INSERT INTO numbers VALUES (:number)"), {"number": number})

    with behind_one_that_holds(ledger, 1, alone) as calls:
        for call in calls:
            call.result()
    assert (ledger.kept(), ledger.commits) == ([0, 1], 2)


def test_a_commit_that_fails_undoes_all_and_tells_each(ledger: Ledger) -> None:
    ledger.broken = True
    with behind_one_that_holds(ledger, 2, ledger.add) as calls:
        for call in calls:
            with pytest.raises(WriteConflict):
                call.result()
    ledger.broken = False
    assert ledger.kept() == []
    ledger.add(7)
    assert ledger.kept() == [7]


def test_a_database_that_undoes_all_tells_each(ledger: Ledger) -> None:
    def undo(number: int) -> None:
        with ledger.writes.beside() as connection:
            connection.exec_driver_sql("ROLLBACK")  # as SQLite does by itself when a disk is full
            raise OSError("disk full")

    with behind_one_that_holds(ledger, 1, undo) as calls:
        with pytest.raises(OSError, match="disk full"):
            calls[1].result()
        with pytest.raises(WriteConflict):
            calls[0].result()
    assert ledger.kept() == []
    ledger.add(7)
    assert ledger.kept() == [7]
