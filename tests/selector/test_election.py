"""Of several selectors one scores anew and ranks; when it is killed another goes on where it was."""

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest
from sqlalchemy import create_engine, select
from support.records import log_record, record_of
from support.scoring import ScoringService
from support.selecting import serve
from support.waiting import wait_for

from quandary_server.cluster import free_ports
from quandary_server.selector.election import Candidacy
from quandary_server.selector.open_log import log_writer
from quandary_server.settings import Settings, load_settings
from quandary_server.storage.opening import url_of
from quandary_server.storage.schema import elections
from quandary_server.storage.store import Store

FRAMES = 30
NOW = datetime(2026, 1, 1, 12, 0, tzinfo=UTC)
DAY = timedelta(days=1)


@pytest.fixture
def start() -> Iterator[Callable[[Settings], BaseProcess]]:
    """Start a selector in a process of its own, forked off one that has imported everything."""
    context = multiprocessing.get_context("forkserver")
    running: list[BaseProcess] = []

    def started(settings: Settings) -> BaseProcess:
        process = context.Process(target=serve, args=(settings,), daemon=True)
        process.start()
        running.append(process)
        return process

    yield started
    for process in running:
        process.kill()
        process.join(60)


def scrape(port: int) -> dict[str, float]:
    """Return a selector's metrics, by name and labels."""
    with urlopen(f"http://127.0.0.1:{port}/metrics") as response:
        lines = response.read().decode().splitlines()
    return {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in lines if not line.startswith("#")}


def leader(database: str | Path) -> tuple[str, int]:
    """Return who has the office, and in which term; nobody before the first."""
    engine = create_engine(url_of(database))
    with engine.connect() as connection:
        found = connection.execute(select(elections.c.member, elections.c.term)).one_or_none()
    engine.dispose()
    return ("", 0) if found is None else (found.member, found.term)


def test_when_the_elected_is_killed_another_scores_the_rest_and_ranks(
    scoring: ScoringService, make_frame: Any, tmp_path: Path, start: Callable[[Settings], BaseProcess]
) -> None:
    ports = free_ports(4)
    of_member = {
        name: load_settings(
            data=tmp_path,
            selector={
                "member": name,
                "port": ports[2 * i],
                "metrics_port": ports[2 * i + 1],
                "member_lasts": timedelta(seconds=2),
                "scoring_target": scoring.target,
                "batch": 3,
                "in_flight": 1,
                "poll": timedelta(milliseconds=20),
                "control_share": 0.0,
            },
        )
        for i, name in enumerate(("ada", "bob"))
    }
    settings = of_member["ada"]
    records = [record_of(make_frame(f"f{i:02}", seed=i), tmp_path / "clouds", at_s=i) for i in range(FRAMES)]
    with log_writer(settings) as writer:
        writer.append([log_record(record) for record in records], now=NOW)
    first, second = scoring.register(), scoring.register(temperature=3.0)
    scoring.promote(first)

    with Store.open(settings.store_place) as store:

        def scored_by(generation: str) -> int:
            waiting = store.tasks.list("active", page_size=500, now=NOW).items
            return sum(task.generation == generation for task in waiting)

        processes = {name: start(of_member[name]) for name in of_member}
        wait_for(lambda: store.ranking.ranked_generation("active") == first and scored_by(first) == FRAMES)
        elected, term = leader(settings.store_place)

        scoring.promote(second)
        wait_for(lambda: scored_by(second) > 0)
        with scoring.held():
            pid = processes[elected].pid
            assert pid is not None
            os.kill(pid, signal.SIGKILL)
            processes[elected].join(60)
            assert 0 < scored_by(second) < FRAMES
        wait_for(lambda: store.ranking.ranked_generation("active") == second)

        assert scored_by(second) == FRAMES
        successor, next_term = leader(settings.store_place)
        assert {elected, successor} == set(of_member)
        assert next_term == term + 1
        ranked = [task for task in store.tasks.list("active", page_size=500, now=NOW).items if task.place.rank is not None]
        assert [task.place.rank for task in ranked] == list(range(len(ranked)))
        assert ranked
        told = scrape(of_member[successor].selector.metrics_port)
        assert told["quandary_selector_leads"] == told['quandary_selector_ranked{queue="active"}'] == 1.0
        assert told['quandary_selector_rescored_share{queue="active"}'] == 1.0
        assert told['quandary_selector_tasks_behind{queue="active"}'] == 0.0
        assert 0 < told['quandary_selector_rescored_total{queue="active"}'] < FRAMES
        assert told["quandary_selector_generation_seen_seconds"] >= 0.0


def test_a_candidate_leads_until_its_term_is_over_and_then_another_may(store: Store) -> None:
    times = {"ada": NOW, "bob": NOW}
    ada = Candidacy(store.elections, "ranking", "ada", lambda: times["ada"], DAY)
    bob = Candidacy(store.elections, "ranking", "bob", lambda: times["bob"], DAY)
    ada.begin()
    bob.begin()
    lead = ada.lead()
    assert (lead is not None, bob.lead()) == (True, None)
    times["ada"] += DAY  # it slept: it does not wait to be told
    assert ada.lead() is None
    times["ada"] -= DAY
    ada.end()
    assert ada.lead() is None
    bob.end()
    again = Candidacy(store.elections, "ranking", "bob", lambda: times["bob"], DAY)
    again.begin()
    assert again.lead() is not None
    again.end()
