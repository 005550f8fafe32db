"""The file of a store: how it is opened, what is none, and whether it answers."""

import sqlite3
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event
from sqlalchemy.pool import Pool

from quandary.errors import CorruptArtefact, InvalidArgument, Unavailable, WrongState
from quandary_server.storage import Store
from quandary_server.storage.fleet_log import SqliteFleetLog
from quandary_server.storage.frame_log import LogRecord

NOW = datetime(2026, 1, 1, 12, 0, tzinfo=UTC)


def test_a_store_is_opened_by_path_or_url_and_found_again(tmp_path: Path) -> None:
    path = tmp_path / "a folder" / "store.db"
    path.parent.mkdir()
    with Store.open(path) as store:
        store.intake.apply([], log="log", after=0, position=3, now=NOW)
    for place in (str(path), f"sqlite:///{path}"):
        with Store.open(place) as store:
            assert store.intake.offset("log") == 3


def test_a_commit_is_on_the_disk_when_it_returns(tmp_path: Path) -> None:
    # What a power cut leaves cannot be tested here; that the journal is the one that survives it, can.
    found: set[tuple[Any, ...]] = set()

    def note(connection: sqlite3.Connection, *_: object) -> None:
        pragmas = ("journal_mode", "synchronous", "foreign_keys")
        found.add(tuple(connection.execute(f"PRAGMA {pragma}").fetchone()[0] for pragma in pragmas))

    event.listen(Pool, "checkout", note)
    try:
        with Store.open(tmp_path / "store.db") as store:
            store.tasks.queues()
            found.clear()
            store.intake.apply([], log="log", after=0, position=1, now=NOW)
            store.tasks.queues()
    finally:
        event.remove(Pool, "checkout", note)
    assert found == {("wal", 2, 1)}


def test_a_backup_is_a_store_again_and_writes_ahead(tmp_path: Path) -> None:
    with Store.open(tmp_path / "store.db") as store:
        store.intake.apply([], log="log", after=0, position=3, now=NOW)
    with sqlite3.connect(tmp_path / "store.db") as connection:
        connection.execute("VACUUM INTO ?", (str(tmp_path / "backup.db"),))
    connection.close()
    with Store.open(tmp_path / "backup.db") as store:
        assert store.intake.offset("log") == 3
    with sqlite3.connect(tmp_path / "backup.db") as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    connection.close()


@pytest.mark.parametrize(
    "url",
    [
        "mysql://ops:secret@db/quandary",
        "postgresql+asyncpg://ops:secret@db/quandary",
        "postgresql://ops:secret@db",
        "",
        "sqlite://",
        "sqlite:///:memory:",
        "://",
        "http://[",
    ],
)
def test_another_kind_of_url_is_refused_and_no_password_shown(url: str) -> None:
    with pytest.raises(InvalidArgument, match="url") as caught:
        Store.open(url)
    assert "secret" not in str(caught.value)


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    path.write_bytes(b"labels, labels, labels " * 100)
    with pytest.raises(CorruptArtefact, match="not a database"):
        Store.open(path)
    assert path.read_bytes().startswith(b"labels")


def test_a_foreign_file_is_left_as_it_was(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "other.db") as connection:
        connection.execute("CREATE TABLE songs (title TEXT)")
    connection.close()
    with pytest.raises(WrongState, match="no Quandary store but another database"):
        Store.open(tmp_path / "other.db")
    with sqlite3.connect(tmp_path / "other.db") as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("delete",)
    connection.close()


@pytest.mark.parametrize(("version", "remedy"), [(2, "upgrade Quandary"), (0, "migrate it")])
def test_another_version_of_a_fleet_log_is_refused_by_name(tmp_path: Path, version: int, remedy: str) -> None:
    SqliteFleetLog.open(tmp_path / "log.db").close()
    with sqlite3.connect(tmp_path / "log.db") as connection:
        connection.execute("UPDATE schema_version SET version = ?", (version,))
    connection.close()
    with pytest.raises(WrongState, match=f"schema version {version}, this program knows 1: {remedy}"):
        SqliteFleetLog.open(tmp_path / "log.db")


def test_a_store_in_a_folder_that_is_not_there_is_unavailable(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="no folder"):
        Store.open(tmp_path / "nowhere" / "store.db")


def test_a_store_answers_while_its_file_is_there_and_whole(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "store.db"
    with Store.open(path):
        pass  # closed, it is all in one file
    with Store.open(path) as store:
        assert store.answers()
        path.rename(tmp_path / "elsewhere.db")
        assert not store.answers()
        assert not path.exists()
        (tmp_path / "elsewhere.db").rename(path)
        assert store.answers()
        path.write_bytes(b"x" * path.stat().st_size)
        assert not store.answers()
    assert "its file is gone" in caplog.text
    assert "file is not a database" in caplog.text


def test_errors_show_neither_statements_nor_values(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    with SqliteFleetLog.open(path) as log:
        with sqlite3.connect(path) as connection:
            connection.execute("DROP TABLE entries")
        connection.close()
        with pytest.raises(Unavailable) as caught:
            log.append([LogRecord("f000", b"payload")], now=NOW)
    assert "INSERT" not in str(caught.value)
    assert "f000" not in str(caught.value)
