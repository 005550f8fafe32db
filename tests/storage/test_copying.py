"""A store moves from one kind of database to the other with all that it holds."""

import sqlite3
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import create_engine, select
from support.postgres import Postgres

from quandary.errors import NotFound, WrongState
from quandary_server.storage import Store
from quandary_server.storage.copying import copy_store
from quandary_server.storage.opening import url_of
from quandary_server.storage.schema import metadata

NOW = datetime(2026, 1, 1, 12, 0, tzinfo=UTC)
FULL = (Path(__file__).parent / "before_alembic.sql").read_text()


@pytest.fixture
def full(tmp_path: Path) -> str:
    """The path of a store with rows in every table."""
    path = tmp_path / "full.db"
    with sqlite3.connect(path) as connection:
        connection.executescript(FULL)
    connection.close()
    Store.open(path).close()
    with sqlite3.connect(path) as connection:
        # tables of later revisions
        connection.execute("INSERT INTO exclusions VALUES ('active', 'ada', 'f000')")
        connection.execute("INSERT INTO selectors VALUES ('selector', 'one', '2026-01-01 12:00:00.000000')")
        connection.execute("INSERT INTO run_log VALUES (1, 1, '2026-01-01 12:00:00.000000', 'started')")
        connection.execute("INSERT INTO embeddings VALUES ('f000', 1, 'g1', x'0000803f')")
        connection.execute("INSERT INTO elections VALUES ('ranking', 'one', 1, '2026-01-01 12:00:00.000000')")
    connection.close()
    return str(path)


def rows(place: str) -> dict[str, list[tuple[object, ...]]]:
    engine = create_engine(url_of(place))
    with engine.connect() as connection:
        found = {t.name: sorted((tuple(row) for row in connection.execute(select(t))), key=str) for t in metadata.sorted_tables}
    engine.dispose()
    return found


def test_there_and_back_every_row_is_the_same(full: str, postgres: Postgres, tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    with postgres.database() as url:
        copied = copy_store(full, url, progress=lambda done, *, total: told.append((done, total)))
        assert rows(url) == rows(full)
        back = str(tmp_path / "back.db")
        assert copy_store(url, back) == copied == told[-1][0] == told[-1][1]
        assert rows(back) == rows(full)
        assert all(rows(full).values())


def test_a_copy_goes_on_where_the_first_was(full: str, postgres: Postgres) -> None:
    with postgres.database() as url:
        copy_store(full, url)
        with Store.open(url) as store:
            leased = store.leases.lease("active", holder="bob", max_tasks=9, duration=timedelta(hours=1), now=NOW)
            assert [task.frame_id for task in leased] == ["f001", "f003"]
            # numbered behind those that came along
            assert [event.subject for event in store.audit.list().items] == ["ada", "ada", "ada", "bob", "bob"]


def test_a_store_with_frames_is_not_written_into_and_none_is_made_of_nothing(full: str, tmp_path: Path) -> None:
    target = str(tmp_path / "target.db")
    copy_store(full, target)
    with pytest.raises(WrongState, match="holds a store with frames"):
        copy_store(full, target)
    with pytest.raises(NotFound, match="no database"):
        copy_store(tmp_path / "nowhere.db", tmp_path / "new.db")
    assert not (tmp_path / "nowhere.db").exists()
