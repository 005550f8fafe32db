"""One at a time has an office, and who had it before writes nothing any more."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from quandary.errors import Aborted
from quandary_server.storage.elections import RANKING, Lead
from quandary_server.storage.store import Store
from quandary_server.storage.task_values import NewScore

NOW = datetime(2026, 1, 1, 12, 0, tzinfo=UTC)
LASTS = timedelta(seconds=6)


def at(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


def campaign(store: Store, member: str, held: Lead | None = None, seconds: float = 0.0) -> Lead | None:
    return store.elections.campaign(RANKING, member, held, now=at(seconds), lasts=LASTS)


def test_the_first_is_elected_and_stays_it_while_it_renews(store: Store) -> None:
    ada = campaign(store, "ada")
    assert ada == Lead(RANKING, 1)
    assert campaign(store, "bob", seconds=5.9) is None
    assert campaign(store, "ada", ada, 5.0) == ada
    assert campaign(store, "bob", seconds=10.9) is None


def test_another_is_elected_once_the_term_is_over(store: Store) -> None:
    ada = campaign(store, "ada")
    assert campaign(store, "bob", seconds=6.0) == Lead(RANKING, 2)
    assert campaign(store, "ada", ada, 6.1) is None


def test_a_term_that_nobody_took_goes_on(store: Store) -> None:
    ada = campaign(store, "ada")
    assert campaign(store, "ada", ada, 60.0) == ada


def test_who_starts_anew_under_a_name_succeeds_itself_at_once(store: Store) -> None:
    before = campaign(store, "ada")
    assert campaign(store, "ada", seconds=1.0) == Lead(RANKING, 2)
    assert campaign(store, "ada", before, 2.0) is None


def test_who_resigns_leaves_the_office_at_once(store: Store) -> None:
    ada = campaign(store, "ada")
    assert ada is not None
    store.elections.resign(ada, now=at(1.0))
    bob = campaign(store, "bob", seconds=1.0)
    assert bob == Lead(RANKING, 2)
    store.elections.resign(ada, now=at(1.0))  # of a term that is over: nothing
    assert campaign(store, "eve", seconds=1.5) is None


def test_what_was_made_under_a_term_that_is_over_is_not_written(store: Store, fill: Callable[..., Any]) -> None:
    fill(0.2, 0.1)
    ada = campaign(store, "ada")
    assert store.ranking.rescore("active", [NewScore("f000", 0.3, b"")], generation="g2", now=NOW, lead=ada) == 1
    bob = campaign(store, "bob", seconds=6.0)
    store.ranking.write_ranks("active", ["f001"], generation="g2", now=at(6.0), lead=bob)
    late: list[Callable[[], object]] = [
        lambda: store.ranking.rescore("active", [NewScore("f001", 9.0, b"")], generation="g1", now=at(7.0), lead=ada),
        lambda: store.ranking.write_ranks("active", ["f000"], generation="g1", now=at(7.0), lead=ada),
    ]
    for write in late:
        with pytest.raises(Aborted, match="bob has been elected for ranking since, in term 2: this is of 1"):
            write()
    tasks = {task.frame_id: task for task in store.tasks.list("active", now=NOW).items}
    assert [(tasks[name].place.rank, tasks[name].generation) for name in ("f000", "f001")] == [(None, "g2"), (0, "g1")]
    assert (store.ranking.ranked_generation("active"), store.ranking.ranked_generation("control")) == ("g2", "")
