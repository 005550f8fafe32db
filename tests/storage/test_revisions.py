"""The schema's revisions: the model agrees with them, upgrades keep rows, and what does not fit is refused by name."""

import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, create_engine, event, inspect, text
from support.postgres import Postgres

from quandary.errors import NotFound, Unavailable, WrongState
from quandary_server.leasing.status import TaskState
from quandary_server.storage import Store
from quandary_server.storage.fleet_log import SqliteFleetLog
from quandary_server.storage.maintenance import Upgraded, check_store, current_revision, upgrade_store
from quandary_server.storage.opening import url_of
from quandary_server.storage.options import StoreOptions
from quandary_server.storage.postgresql import BESIDE
from quandary_server.storage.revisions import MIGRATIONS, NEWEST, REVISIONS, differences, upgrade
from quandary_server.storage.schema import metadata

NOW = datetime(2026, 1, 1, 12, 0, tzinfo=UTC)
UPGRADE, REFUSE = StoreOptions(upgrade=True), StoreOptions(upgrade=False)

OPEN = """
import sys
from quandary_server.storage import Store
from quandary_server.storage.options import StoreOptions
print(*Store.open(sys.argv[1], options=StoreOptions(upgrade=True)).tasks.queues())
"""

BEFORE_ALEMBIC = (Path(__file__).parent / "before_alembic.sql").read_text()
"""A store of the last version without revisions, with tasks in every state, a label, a run, a rejected record."""


@pytest.fixture(params=["sqlite", "postgresql"])
def empty(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of an empty database, in which anything may be made."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'store.db'}"
        return
    server: Postgres = request.getfixturevalue("postgres")
    with server.database() as url:
        yield url


@contextmanager
def connected(url: str) -> Iterator[Engine]:
    engine = create_engine(url_of(url))
    if engine.dialect.name == "sqlite":

        @event.listens_for(engine, "connect")
        def _connect(connection: Any, _entry: Any) -> None:
            connection.isolation_level = None

        @event.listens_for(engine, "begin")
        def _begin(connection: Any) -> None:
            connection.exec_driver_sql("BEGIN")

    yield engine
    engine.dispose()


def described(engine: Engine) -> dict[str, Any]:
    """Return all that the database tells of its tables: more than alembic compares."""
    found: dict[str, Any] = {}
    inspector = inspect(engine)
    for table in sorted(set(inspector.get_table_names()) - {"alembic_version"}):
        columns = [{**column, "type": repr(column["type"])} for column in inspector.get_columns(table)]
        checks = sorted(inspector.get_check_constraints(table), key=str)
        indexes = [
            {**index, "dialect_options": {name: str(value) for name, value in index.get("dialect_options", {}).items()}}
            for index in sorted(inspector.get_indexes(table), key=lambda index: str(index["name"]))
        ]
        keys = inspector.get_pk_constraint(table), sorted(inspector.get_foreign_keys(table), key=str)
        unique = inspector.get_unique_constraints(table)
        found[table] = (columns, checks, indexes, keys, unique, inspector.get_table_options(table))
    if engine.dialect.name == "postgresql":
        with engine.connect() as connection:
            stored = text("SELECT relname, reloptions FROM pg_class WHERE relkind = 'r' AND reloptions IS NOT NULL")
            found["options"] = sorted(tuple(row) for row in connection.execute(stored))
    return found


def old_store(path: Path, *, with_index: bool = True) -> None:
    with sqlite3.connect(path) as connection:
        connection.executescript(BEFORE_ALEMBIC)
        if not with_index:
            connection.execute("DROP INDEX frames_of_drive")
    connection.close()


def test_the_revisions_are_those_of_the_folder_in_one_line() -> None:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    found = [script.revision for script in ScriptDirectory.from_config(config).walk_revisions()]
    assert tuple(reversed(found)) == REVISIONS


def test_the_migrations_make_what_the_model_says(empty: str) -> None:
    with connected(empty) as engine:
        with engine.begin() as connection:
            upgrade(connection)
        with engine.connect() as connection:
            assert differences(connection) == []
        migrated = described(engine)
        with engine.begin() as connection:
            metadata.drop_all(connection)
            metadata.create_all(connection)
        assert described(engine) == migrated
    assert {"tasks", "labels", "schema_version"} <= set(migrated)


def test_what_differs_is_told(empty: str) -> None:
    upgrade_store(empty)
    assert check_store(empty) == []
    with connected(empty) as engine, engine.begin() as connection:
        connection.execute(text("DROP INDEX waiting_in_order"))
        connection.execute(text("ALTER TABLE runs ADD COLUMN mood VARCHAR"))
    assert sorted(check_store(empty)) == ["add_index waiting_in_order", "remove_column runs mood"]


@pytest.mark.parametrize("with_index", [True, False])
def test_a_store_of_before_alembic_is_taken_over_with_all_its_rows(tmp_path: Path, with_index: bool) -> None:
    path = tmp_path / "store.db"
    old_store(path, with_index=with_index)
    assert current_revision(path) == "0001"
    with Store.open(path) as store:
        tasks = store.tasks.list("active", now=NOW).items
        assert [(task.frame_id, task.state) for task in tasks] == [
            ("f000", TaskState.ACKNOWLEDGED),
            ("f002", TaskState.LEASED),
            ("f001", TaskState.WAITING),
            ("f003", TaskState.WAITING),
        ]
        assert (tasks[0].record, tasks[0].tags, tasks[1].frame_score) == (b"record of f000", {"city": "Karlsruhe"}, b"score")
        assert store.labels.get("f000").labels.labels[0].box.yaw_rad == 0.1
        assert store.runs.get("run-000001").error == "nll is worse"
        assert len(store.audit.list().items) == 3
        assert (store.intake.offset("sqlite-1"), store.intake.rejected("sqlite-1").items[0].payload) == (5, b"\x00\xff")
        assert store.labels.counts().sequence == 1
    assert current_revision(path) == REVISIONS[-1]
    assert check_store(path) == []


def test_a_program_of_before_alembic_is_turned_away(empty: str) -> None:
    upgrade_store(empty)
    with connected(empty) as engine, engine.connect() as connection:
        # it opened version 1 and nothing else
        assert connection.execute(text("SELECT kind, version FROM schema_version")).one() == ("Quandary store", 2)


def test_an_upgrade_keeps_rows_and_is_done_once(empty: str) -> None:
    with connected(empty) as engine, engine.begin() as connection:
        upgrade(connection, "0001")
        connection.execute(text("INSERT INTO queues VALUES ('night')"))
    with pytest.raises(WrongState, match=rf"has revision 0001, this program needs {NEWEST}: `quandary db upgrade`"):
        Store.open(empty, options=REFUSE)
    assert upgrade_store(empty) == Upgraded("0001", NEWEST)
    assert upgrade_store(empty) == Upgraded(NEWEST, NEWEST)
    with Store.open(empty, options=REFUSE) as store:
        assert store.tasks.queues() == ("active", "control", "night")


def test_an_upgrade_that_breaks_off_leaves_everything_as_it_was(empty: str) -> None:
    with connected(empty) as engine:
        with engine.begin() as connection:
            upgrade(connection, "0001")
            connection.execute(text("ALTER TABLE schema_version RENAME COLUMN version TO edition"))
            connection.execute(text("ALTER TABLE schema_version ADD COLUMN version INTEGER CHECK (version = 1)"))
            connection.execute(text("UPDATE schema_version SET version = 1"))
        before = described(engine)
        with pytest.raises(Exception, match=r"(?i)check"):
            upgrade_store(empty)
        assert described(engine) == before
    assert current_revision(empty) == "0001"


def test_a_newer_database_is_refused_and_both_revisions_named(empty: str) -> None:
    upgrade_store(empty)
    with connected(empty) as engine, engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '0099'"))
    for options in (REFUSE, UPGRADE):
        with pytest.raises(WrongState, match=rf"has revision 0099, this program knows none after {NEWEST}: upgrade Quandary"):
            Store.open(empty, options=options)
    with pytest.raises(WrongState, match="0099"):
        upgrade_store(empty)
    assert check_store(empty) == [f"revision 0099, this program knows {NEWEST}"]


def test_an_empty_database_gets_tables_where_that_is_allowed(empty: str) -> None:
    if empty.startswith("postgresql"):
        assert current_revision(empty) == ""
        with pytest.raises(WrongState, match=f"the database is empty, this program needs {NEWEST}: `quandary db upgrade`"):
            Store.open(empty)  # PostgreSQL's schema is its operators' business unless they say otherwise
        Store.open(empty, options=UPGRADE).close()
    Store.open(empty).close()
    assert current_revision(empty) == REVISIONS[-1]


def test_nothing_is_made_by_looking(tmp_path: Path) -> None:
    for look in (current_revision, check_store):
        with pytest.raises(NotFound, match=r"no database .*store\.db"):
            look(tmp_path / "store.db")
    assert list(tmp_path.iterdir()) == []


def test_a_database_of_something_else_is_refused(empty: str) -> None:
    with connected(empty) as engine, engine.begin() as connection:
        connection.execute(text("CREATE TABLE songs (title TEXT)"))
    for refused in (lambda: Store.open(empty, options=UPGRADE), lambda: current_revision(empty)):
        with pytest.raises(WrongState, match="no Quandary store but another database"):
            refused()
    with connected(empty) as engine:
        assert inspect(engine).get_table_names() == ["songs"]


def test_a_fleet_log_is_no_store(tmp_path: Path) -> None:
    SqliteFleetLog.open(tmp_path / "log.db").close()
    with pytest.raises(WrongState, match="no Quandary store but a Quandary fleet log"):
        Store.open(tmp_path / "log.db")
    Store.open(tmp_path / "store.db").close()
    with pytest.raises(WrongState, match="no Quandary fleet log but a Quandary store"):
        SqliteFleetLog.open(tmp_path / "store.db")


def test_several_processes_can_make_a_store_at_once(empty: str) -> None:
    command = [sys.executable, "-c", OPEN, empty]
    openers = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(3)]
    assert [opener.communicate(timeout=120) for opener in openers] == [("active control\n", "")] * 3


def test_an_upgrade_waits_for_those_who_write(postgres: Postgres) -> None:
    impatient = StoreOptions(upgrade=True, lock_timeout=timedelta(milliseconds=100))
    with postgres.database() as url:
        with connected(url) as engine, engine.begin() as connection:
            upgrade(connection, "0001")
        with connected(url) as engine, engine.begin() as connection:
            connection.execute(BESIDE)
            with pytest.raises(Unavailable, match="lock timeout"):
                Store.open(url, options=impatient)
        Store.open(url, options=impatient).close()
