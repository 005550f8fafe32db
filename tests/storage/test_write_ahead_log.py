"""While much is written into a file, its log is moved into it between the writes, and by commits again afterwards."""

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import text

from quandary_server.storage.opening import open_database, url_of
from quandary_server.storage.options import DEFAULTS
from quandary_server.storage.revisions import StoreSchema
from quandary_server.storage.sqlite import LOG_PAGES, LONG_LOG_PAGES, ROWS_BETWEEN, SqliteDatabase

pytestmark = pytest.mark.parametrize("places", ["sqlite"], indirect=True)


@pytest.fixture
def database(place: str) -> Iterator[SqliteDatabase]:
    opened = open_database(url_of(place), StoreSchema(may_upgrade=False), DEFAULTS)
    assert isinstance(opened, SqliteDatabase)
    yield opened
    opened.close()


def log_pages(database: SqliteDatabase) -> int:
    """How long the log may be when a commit begins to move it."""
    with database.write() as connection:
        pages: int = connection.execute(text("PRAGMA wal_autocheckpoint")).scalar_one()
    return pages


def test_the_log_is_moved_once_enough_rows_were_written_and_by_commits_again_afterwards(
    database: SqliteDatabase, tmp_path: Path
) -> None:
    def in_file() -> list[str]:
        """The queues that are in the file itself, without its log."""
        alone = shutil.copy(database.path, tmp_path / "alone.db")
        with closing(sqlite3.connect(alone)) as connection:
            return [name for (name,) in connection.execute("SELECT name FROM queues WHERE name LIKE 'new%'")]

    with database.writing_much() as wrote:
        assert log_pages(database) == LONG_LOG_PAGES
        with database.write() as connection:
            connection.execute(text("INSERT INTO queues (name) VALUES ('new')"))
        wrote(1)
        assert in_file() == []
        wrote(ROWS_BETWEEN)
    assert in_file() == ["new"]
    assert log_pages(database) == LOG_PAGES


def test_commits_move_the_log_again_after_an_error(database: SqliteDatabase) -> None:
    with pytest.raises(ZeroDivisionError), database.writing_much():
        raise ZeroDivisionError
    assert log_pages(database) == LOG_PAGES
