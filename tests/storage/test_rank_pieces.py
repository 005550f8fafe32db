"""A query's ranks come in pieces: what is leased between two of them, and what is left when it ends there."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Connection

from quandary.errors import Aborted, Unavailable
from quandary_server.leasing.order import PriorityBand
from quandary_server.storage import Store
from quandary_server.storage.database import Database
from quandary_server.storage.elections import RANKING, Lead
from quandary_server.storage.opening import open_database, url_of
from quandary_server.storage.options import DEFAULTS
from quandary_server.storage.rank_pieces import OVERDUE
from quandary_server.storage.ranking import Ranking
from quandary_server.storage.revisions import StoreSchema
from quandary_server.storage.task_values import NewScore

NOW = datetime(2026, 1, 1, 12, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)
TERM = timedelta(seconds=6)
AT_ONCE = 2
SCORES = [0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2]
OLD, NEW = [0, 1, 2, 3, 4, 5], [7, 4, 1, 6, 0]


def names(*numbers: int) -> list[str]:
    return [f"f{number:03d}" for number in numbers]


class Between:
    """A database that calls `then` after each transaction that is written alone, with how many there were."""

    def __init__(self, database: Database, then: Callable[[int], object]) -> None:
        self._database, self._then, self._written = database, then, 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._database, name)

    @contextmanager
    def write(self) -> Iterator[Connection]:
        with self._database.write() as connection:
            yield connection
        self._written += 1
        self._then(self._written)

    def read(self, *, between_writes: bool = False) -> AbstractContextManager[Connection]:
        return self._database.read(between_writes=between_writes)


def order(store: Store) -> list[str]:
    return [task.frame_id for task in store.tasks.list("active", now=NOW).items if task.place.can_be_leased]


def lease(store: Store, count: int = 1) -> list[str]:
    leased = store.leases.lease("active", holder="ada", max_tasks=count, duration=HOUR, now=NOW)
    return [task.frame_id for task in leased]


@contextmanager
def ranking_in_pieces(place: str, then: Callable[[int], object]) -> Iterator[Ranking]:
    database = open_database(url_of(place), StoreSchema(may_upgrade=False), DEFAULTS)
    try:
        yield Ranking(Between(database, then), 3, rows_at_once=AT_ONCE)
    finally:
        database.close()


@pytest.fixture
def ranked(store: Store, fill: Callable[..., Any]) -> Store:
    """Eight tasks, six of them ranked in order."""
    fill(*SCORES)
    store.ranking.write_ranks("active", names(*OLD), now=NOW)
    return store


def test_between_pieces_the_order_is_the_new_picks_and_then_what_the_query_before_had(ranked: Store, place: str) -> None:
    seen: list[list[str]] = []
    with ranking_in_pieces(place, lambda _: seen.append(order(ranked))) as ranking:
        ranking.write_ranks("active", names(*NEW), now=NOW)
    old = [*OLD, 6, 7]
    for done in range(4):  # the beginning, and the pieces of picks
        first = NEW[: done * AT_ONCE]
        assert seen[done] == names(*first, *(number for number in old if number not in first))
    cleared = names(*NEW, 2, 3, 5)  # by score
    assert seen[-1] == order(ranked) == cleared
    assert all(one[: len(NEW)] == names(*NEW) for one in seen[3:])


def test_what_is_leased_between_pieces_is_the_first_of_the_order_then_and_never_given_twice(ranked: Store, place: str) -> None:
    expected: list[str] = []
    given: list[str] = []

    def take(_: int) -> None:
        expected.append(order_waiting(ranked)[0])
        given.extend(lease(ranked))

    with ranking_in_pieces(place, take) as ranking:
        ranking.write_ranks("active", names(*NEW), now=NOW)
    assert given == expected
    assert len(set(given)) == len(given)


def order_waiting(store: Store) -> list[str]:
    return [t.frame_id for t in store.tasks.list("active", now=NOW).items if t.status.lease is None and t.place.can_be_leased]


@pytest.mark.parametrize("written", [1, 2, 3, 4, 5])
def test_a_query_that_ends_between_pieces_leaves_a_valid_order_and_the_next_one_makes_it_whole(
    ranked: Store, place: str, written: int
) -> None:
    def end(pieces: int) -> None:
        if pieces == written:
            raise Unavailable("the disk is full")

    with ranking_in_pieces(place, end) as ranking, pytest.raises(Unavailable):
        ranking.write_ranks("active", names(*NEW), now=NOW)
    first = NEW[: (written - 1) * AT_ONCE]
    assert order(ranked)[: len(first)] == names(*first)
    assert sorted(order(ranked)) == names(*range(8))
    assert ranked.ranking.write_ranks("active", names(*NEW), now=NOW) == len(NEW)
    assert order(ranked) == names(*NEW, 2, 3, 5)


def test_a_query_that_was_given_up_is_due_again(ranked: Store, place: str) -> None:
    assert not ranked.ranking.ranks_run_out("active", 1, now=NOW + OVERDUE)

    def end(_: int) -> None:
        raise Unavailable("the disk is full")

    with ranking_in_pieces(place, end) as ranking, pytest.raises(Unavailable):
        ranking.write_ranks("active", names(*NEW), now=NOW)
    assert not ranked.ranking.ranks_run_out("active", 1, now=NOW)
    assert ranked.ranking.ranks_run_out("active", 1, now=NOW + OVERDUE)
    ranked.ranking.write_ranks("active", names(*NEW), now=NOW + OVERDUE)
    assert not ranked.ranking.ranks_run_out("active", 1, now=NOW + 2 * OVERDUE)


def test_a_later_query_stops_the_one_before(ranked: Store, place: str) -> None:
    def interfere(pieces: int) -> None:
        if pieces == 2:
            ranked.ranking.write_ranks("active", names(3, 2), now=NOW)

    with ranking_in_pieces(place, interfere) as ranking:
        assert ranking.write_ranks("active", names(*NEW), now=NOW) == AT_ONCE
    assert order(ranked) == names(3, 2, 0, 1, 4, 5, 6, 7)
    assert not ranked.ranking.ranks_run_out("active", 1, now=NOW + OVERDUE)


@pytest.mark.parametrize("written", range(1, 7))
def test_who_is_elected_between_pieces_stops_the_one_before_and_its_order_stands(
    ranked: Store, place: str, written: int
) -> None:
    ada = campaign(ranked, "ada", NOW)
    theirs = [3, 2, 5, 1, 0, 4]

    def elect(pieces: int) -> None:
        if pieces == written:
            bob = campaign(ranked, "bob", NOW + TERM)
            assert bob != ada
            ranked.ranking.write_ranks("active", names(*theirs), generation="g2", now=NOW, lead=bob)

    with ranking_in_pieces(place, elect) as ranking, pytest.raises(Aborted, match="bob has been elected"):
        ranking.write_ranks("active", names(*NEW), generation="g1", now=NOW, lead=ada)
    assert order(ranked) == names(*theirs, 6, 7)
    assert ranked.ranking.ranked_generation("active") == "g2"
    assert not ranked.ranking.ranks_run_out("active", 1, now=NOW + OVERDUE)


def test_what_is_left_by_one_who_was_succeeded_between_pieces_is_a_valid_order(ranked: Store, place: str) -> None:
    ada = campaign(ranked, "ada", NOW)

    def elect(pieces: int) -> None:
        if pieces == 2:
            campaign(ranked, "bob", NOW + TERM)  # who has not ranked yet

    with ranking_in_pieces(place, elect) as ranking, pytest.raises(Aborted):
        ranking.write_ranks("active", names(*NEW), now=NOW, lead=ada)
    first = NEW[:AT_ONCE]
    assert order(ranked) == names(*first, *(number for number in [*OLD, 6, 7] if number not in first))
    assert ranked.ranking.ranks_run_out("active", 1, now=NOW + OVERDUE)


def campaign(store: Store, member: str, now: datetime) -> Lead | None:
    return store.elections.campaign(RANKING, member, None, now=now, lasts=TERM)


def test_a_pick_has_its_near_copies_folded_from_its_own_piece_on(ranked: Store, place: str) -> None:
    found: list[tuple[str, tuple[str, ...]]] = []

    def look(pieces: int) -> None:
        if pieces == 2:
            task = ranked.tasks.get("active", "f007", now=NOW)
            found.append((order(ranked)[0], task.siblings))

    with ranking_in_pieces(place, look) as ranking:
        ranking.write_ranks("active", names(*NEW), folded=dict.fromkeys(names(2, 3), "f007"), now=NOW)
    assert found == [("f007", ("f002", "f003"))]


def test_what_moves_between_reading_and_writing_a_piece_keeps_what_it_got(ranked: Store, place: str) -> None:
    def move(pieces: int) -> None:
        if pieces == 1:
            ranked.priorities.set_band("active", "f007", PriorityBand.SAFETY, subject="olga", now=NOW)
            ranked.ranking.rescore("active", [NewScore("f004", 0.1, b"")], generation="g2", now=NOW)

    class Late(Between):
        @contextmanager
        def write(self) -> Iterator[Connection]:
            self._written += 1
            self._then(self._written - 1)  # before it is written
            with self._database.write() as connection:
                yield connection

    database = open_database(url_of(place), StoreSchema(may_upgrade=False), DEFAULTS)
    try:
        Ranking(Late(database, move), 3, rows_at_once=AT_ONCE).write_ranks("active", names(*NEW), now=NOW)
    finally:
        database.close()
    first, second = ranked.tasks.list("active", now=NOW).items[:2]
    assert (first.frame_id, first.place.band, first.place.rank) == ("f007", PriorityBand.SAFETY, 0)
    assert (second.frame_id, second.place.score, second.place.rank) == ("f004", 0.1, 1)
    assert order(ranked) == names(*NEW, 2, 3, 5)


RANK = """
import sys
from datetime import UTC, datetime
from quandary_server.storage import Store
from quandary_server.storage.options import StoreOptions

store = Store.open(sys.argv[1], options=StoreOptions(rows_at_once=1))
frame_ids = [f"f{i:03d}" for i in reversed(range(400))]
print("ready", flush=True)
store.ranking.write_ranks("active", frame_ids, now=datetime(2026, 1, 1, 12, 0, tzinfo=UTC))
"""


def test_a_selector_killed_while_it_ranks_leaves_a_valid_order(store: Store, place: str, fill: Callable[..., Any]) -> None:
    fill(*(1.0 - i / 1000 for i in range(400)))
    process = subprocess.Popen([sys.executable, "-c", RANK, place], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline().strip() == "ready"
    while order(store)[0] == "f000":
        os.sched_yield()
    os.kill(process.pid, signal.SIGKILL)
    process.communicate(timeout=60)
    tasks = [task.frame_id for task in store.tasks.list("active", page_size=500, now=NOW).items]
    first = tasks.index("f000")
    assert 0 < first < 400, "killed in the middle, or the test shows nothing"
    assert tasks == names(*(399 - i for i in range(first)), *range(400 - first))
    assert store.ranking.ranks_run_out("active", 1, now=NOW + OVERDUE)
