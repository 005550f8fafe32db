"""quandary db, on both kinds of database."""

import json
import sqlite3
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import psycopg
import pytest
from support.postgres import Postgres

from quandary_server.storage.revisions import NEWEST

FAILED = 1


@pytest.fixture(params=["sqlite", "postgresql"], autouse=True)
def url(_bare: None, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """An empty database, named by the environment; that of SQLite is the data directory's own, which is not there yet."""
    if request.param == "sqlite":
        yield ""
        return
    server: Postgres = request.getfixturevalue("postgres")
    with server.database() as made:
        monkeypatch.setenv("QUANDARY_STORE__URL", made)
        yield made


@pytest.fixture
def db(quandary: Any) -> Any:
    """Run `quandary db`; return its code, and what it said on both streams."""
    return partial(quandary, "db")


def test_a_database_is_made_looked_at_and_compared(db: Any, url: str) -> None:
    code, said = db("current")
    if url:
        assert (code, said) == (0, f"revision none: the database is empty, needed {NEWEST}")
    else:
        assert (code, said) == (FAILED, "NotFound: there is no database quandary-data/quandary.db")
        assert not Path("quandary-data").exists()

    assert db("upgrade") == (0, f"upgraded from an empty database to revision {NEWEST}")
    assert db("upgrade") == (0, f"revision {NEWEST}: nothing to do")
    code, said = db("current", "--json")
    assert (code, json.loads(said)) == (0, {"revision": NEWEST, "needed": NEWEST})
    assert db("check") == (0, "no differences")


def test_a_store_is_copied_into_another_database(db: Any, tmp_path: Path) -> None:
    db("upgrade")
    copied = "5 rows copied; set QUANDARY_STORE__URL and start the services"  # two queues, three counters
    assert db("copy", str(tmp_path / "copy.db")) == (0, copied)
    assert (tmp_path / "copy.db").exists()


def test_what_differs_is_named_and_ends_in_a_code(db: Any, url: str) -> None:
    db("upgrade")
    if url:
        with psycopg.connect(url) as connection:
            connection.execute("DROP INDEX tasks_of_frame")
    else:
        with sqlite3.connect("quandary-data/quandary.db") as file:
            file.execute("DROP INDEX tasks_of_frame")
        file.close()
    assert db("check") == (FAILED, "add_index tasks_of_frame")
    code, said = db("check", "--json")
    assert (code, json.loads(said)) == (FAILED, {"differences": ["add_index tasks_of_frame"]})


def test_a_server_that_is_away_ends_in_a_line(db: Any, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QUANDARY_STORE__URL", "postgresql://ops:secret@/quandary?host=/nowhere")
    code, said = db("current")
    assert code == FAILED
    assert said.startswith("Unavailable: the database cannot be read now: connection ")
    assert "secret" not in said
