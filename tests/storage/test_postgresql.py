"""What PostgreSQL has and SQLite has not: writers beside each other, conflicts, limits, and a server that goes away."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import text
from support.postgres import STORE, Postgres
from support.waiting import wait_for

from quandary.errors import InvalidArgument, Unavailable, WrongState
from quandary.labels import FrameLabels
from quandary_server.leasing.events import Action
from quandary_server.leasing.status import TaskState
from quandary_server.storage import Store
from quandary_server.storage.intake import Applied
from quandary_server.storage.opening import url_of
from quandary_server.storage.options import DEFAULTS
from quandary_server.storage.postgresql import ALONE, BESIDE, PostgresDatabase
from quandary_server.storage.revisions import StoreSchema
from quandary_server.storage.task_values import RejectedEntry, Task, TaskEntry

pytestmark = pytest.mark.parametrize("places", ["postgresql"], indirect=True)

NOW = datetime(2026, 1, 1, 12, 0, tzinfo=UTC)
IMPATIENT = replace(DEFAULTS, lock_timeout=timedelta(milliseconds=100))
Fill = Callable[..., Applied]


def lease(store: Store, max_tasks: int = 1, *, now: datetime = NOW) -> list[str]:
    return [task.frame_id for task in leased(store, max_tasks, now=now)]


def leased(store: Store, max_tasks: int = 1, *, now: datetime = NOW) -> tuple[Task, ...]:
    return store.leases.lease("active", holder="ada", max_tasks=max_tasks, duration=timedelta(hours=1), now=now)


@contextmanager
def holding(postgres: Postgres, *statements: str) -> Iterator[None]:
    """Hold what the statements lock."""
    with postgres.server.connect(STORE) as connection, connection.transaction():
        for statement in statements:
            connection.execute(statement.encode())
        yield


def test_labellers_lease_beside_each_other_each_what_the_others_left(
    store: Store, place: str, postgres: Postgres, fill: Fill
) -> None:
    fill(0.5, 0.4, 0.3)
    first = "SELECT 1 FROM tasks WHERE frame_id = 'f000' FOR UPDATE"
    with holding(postgres, str(BESIDE), first), Store.open(place, options=IMPATIENT) as other:
        assert lease(other) == ["f001"]
    assert lease(store, 3) == ["f000", "f002"]


def test_who_ranks_waits_for_labellers_and_they_for_him(place: str, postgres: Postgres, fill: Fill) -> None:
    fill(0.5, 0.4)
    with Store.open(place, options=IMPATIENT) as store:
        with holding(postgres, str(BESIDE)), pytest.raises(Unavailable, match=r"written now: .* lock timeout"):
            store.ranking.write_ranks("active", ["f001"], now=NOW)
        with holding(postgres, str(ALONE)), pytest.raises(Unavailable, match="lock timeout"):
            lease(store)
        assert store.ranking.write_ranks("active", ["f001"], now=NOW) == 1
        assert lease(store) == ["f001"]


def test_reading_waits_for_nobody_but_the_audit_does(place: str, postgres: Postgres, fill: Fill) -> None:
    fill(0.5)
    with Store.open(place, options=IMPATIENT) as store:
        with holding(postgres, str(BESIDE), "SELECT 1 FROM tasks FOR UPDATE"):
            assert store.tasks.get("active", "f000", now=NOW).state is TaskState.WAITING
            with pytest.raises(Unavailable, match=r"read now: .* lock timeout"):
                store.audit.list()  # whoever writes there now may have a smaller id than those that can be read
        assert store.audit.list().items == ()


def test_a_reader_sees_one_state_throughout(store: Store, place: str, fill: Fill) -> None:
    fill(0.5)
    waiting = text("SELECT count(*) FROM tasks WHERE state = 'waiting'")
    database = PostgresDatabase.open(url_of(place), StoreSchema(may_upgrade=False))
    with database.read() as connection:
        assert connection.execute(waiting).scalar_one() == 1
        lease(store)
        assert connection.execute(waiting).scalar_one() == 1
    with database.read() as connection:
        assert connection.execute(waiting).scalar_one() == 0
    database.close()


@pytest.mark.parametrize("state", ["40001", "40P01"])
def test_a_transaction_that_must_give_way_is_done_again(store: Store, postgres: Postgres, fill: Fill, state: str) -> None:
    fill(0.5)
    with failing_audit(postgres, state, times=2):
        assert lease(store) == ["f000"]
    assert [event.action for event in store.audit.list().items] == [Action.LEASE]


def test_one_that_always_must_is_unavailable_and_keeps_nothing(store: Store, postgres: Postgres, fill: Fill) -> None:
    fill(0.5)
    with failing_audit(postgres, "40P01", times=1000), pytest.raises(Unavailable, match="in the way"):
        lease(store)
    assert lease(store) == ["f000"]


@contextmanager
def failing_audit(postgres: Postgres, state: str, times: int) -> Iterator[None]:
    """Let the server itself end the first transactions that write into the audit."""
    made = f"""
        CREATE SEQUENCE tries;
        CREATE FUNCTION give_way() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            IF nextval('tries') <= {times} THEN
                RAISE EXCEPTION 'in the way' USING ERRCODE = '{state}';
            END IF;
            RETURN NEW;
        END $$;
        CREATE TRIGGER give_way BEFORE INSERT ON audit FOR EACH ROW EXECUTE FUNCTION give_way();
    """
    with postgres.server.connect(STORE) as connection:
        connection.execute(made.encode())
        try:
            yield
        finally:
            connection.execute("DROP TRIGGER give_way ON audit; DROP FUNCTION give_way; DROP SEQUENCE tries")


def test_a_statement_that_takes_too_long_is_given_up(place: str, postgres: Postgres, fill: Fill) -> None:
    fill(0.5)
    limited = replace(DEFAULTS, statement_timeout=timedelta(seconds=1))
    with Store.open(place, options=limited) as store:
        with holding(postgres, "SELECT 1 FROM tasks FOR UPDATE"), pytest.raises(Unavailable, match="statement timeout"):
            store.ranking.write_ranks("active", ["f000"], now=NOW)
        assert store.ranking.write_ranks("active", ["f000"], now=NOW) == 1


def test_who_finds_no_connection_free_is_told(place: str) -> None:
    database = PostgresDatabase.open(url_of(place), StoreSchema(may_upgrade=False), replace(IMPATIENT, connections=1))
    with database.read(), pytest.raises(Unavailable, match="all connections are in use"), database.read():
        pass
    database.close()


def test_calls_during_a_restart_are_unavailable_and_work_afterwards(store: Store, postgres: Postgres, fill: Fill) -> None:
    fill(0.5, 0.4)
    assert lease(store) == ["f000"]
    assert store.answers()
    postgres.server.stop(signal.SIGQUIT)
    try:
        with pytest.raises(Unavailable, match="cannot be written now"):
            lease(store)
        assert not store.answers()
    finally:
        postgres.server.start()
    assert store.answers()
    assert lease(store) == ["f001"]


def test_no_acknowledgement_is_lost_or_doubled_by_restarts(store: Store, postgres: Postgres, fill: Fill) -> None:
    frames, restarts = 150, (10, 40, 70)
    fill(*(i / frames for i in range(frames)))
    acknowledged: list[str] = []
    refused = threading.Event()

    def again(call: Callable[[], Any]) -> Any:
        while True:
            try:
                return call()
            except Unavailable:
                refused.set()

    def label() -> None:
        while found := again(lambda: leased(store)):
            (task,) = found
            assert task.status.lease is not None
            token, labels = task.status.lease.token, FrameLabels(task.frame_id)
            name = task.frame_id
            again(lambda: store.leases.acknowledge("active", name, token, labels, subject="ada", now=NOW))  # noqa: B023
            acknowledged.append(name)

    labellers = [threading.Thread(target=label) for _ in range(3)]
    for labeller in labellers:
        labeller.start()
    for seen in restarts:
        wait_for(lambda: len(acknowledged) >= seen)  # noqa: B023
        postgres.server.stop(signal.SIGQUIT)
        wait_for(refused.is_set)
        postgres.server.start()
        refused.clear()
    for labeller in labellers:
        labeller.join()

    # A lease may have been granted and its answer lost; it runs out like any other.
    stats = store.tasks.stats("active", generation="g1", now=NOW)
    assert (stats.waiting, stats.acknowledged, stats.leased) == (0, len(acknowledged), frames - len(acknowledged))
    assert stats.leased <= len(labellers) * len(restarts)
    assert sorted(label.frame_id for label in store.labels.all()) == sorted(acknowledged)
    events = store.audit.list(page_size=500).items
    assert sorted(event.frame_id for event in events if event.action is Action.ACKNOWLEDGE) == sorted(acknowledged)
    assert [label.sequence for label in store.labels.all()] == list(range(1, len(acknowledged) + 1))


def test_a_server_that_forgets_what_it_committed_is_refused(place: str) -> None:
    with pytest.raises(WrongState, match="synchronous_commit is off"):
        Store.open(f"{place}&options=-c%20synchronous_commit%3Doff")


def test_a_standby_can_be_read_and_is_unavailable_for_writing(store: Store, postgres: Postgres, fill: Fill) -> None:
    fill(0.5)
    postgres.server.stop()
    standby = postgres.server.folder / "data" / "standby.signal"
    standby.touch()
    postgres.server.start()
    try:
        assert len(store.tasks.list("active", now=NOW).items) == 1
        assert not store.answers()
        with pytest.raises(Unavailable, match=r"cannot be written now: .* during recovery"):
            lease(store)
    finally:
        postgres.server.stop()
        standby.unlink()
        postgres.server.start()
    assert lease(store) == ["f000"]


def test_errors_show_neither_password_nor_statement_nor_values(place: str, postgres: Postgres, fill: Fill) -> None:
    with pytest.raises(Unavailable) as away:
        Store.open("postgresql://ops:secret@/store?host=/nowhere")
    assert "secret" not in str(away.value)
    fill(0.5)
    with Store.open(place) as store:
        with postgres.server.connect(STORE) as connection:
            connection.execute("ALTER TABLE tasks RENAME TO elsewhere")
        try:
            with pytest.raises(Unavailable, match='relation "tasks" does not exist') as gone:
                store.ranking.write_ranks("active", ["f000"], now=NOW)
        finally:
            with postgres.server.connect(STORE) as connection:
                connection.execute("ALTER TABLE elsewhere RENAME TO tasks")
    assert "SELECT" not in str(gone.value)
    assert "f000" not in str(gone.value)


def test_nul_which_postgresql_refuses_is_refused_by_field_or_kept_as_text(
    store: Store, fill: Fill, entry: Callable[..., TaskEntry]
) -> None:
    fill(0.5)
    (task,) = leased(store)
    assert task.status.lease is not None
    token = task.status.lease.token
    with pytest.raises(InvalidArgument, match="comment"):
        store.leases.skip("active", "f000", token, reason="other", comment="a\0b", subject="ada", now=NOW)
    with pytest.raises(InvalidArgument, match="NUL"):
        store.tasks.get("active", "a\0b", now=NOW)
    # what was rejected must be kept, or the log would stand still
    store.intake.apply([RejectedEntry(2, "is a\0b", b"a\0b", "a\0b")], log="log", after=1, position=2, now=NOW)
    (kept,) = store.intake.rejected("log").items
    assert kept == RejectedEntry(2, r"is a\x00b", b"a\0b", r"a\x00b")
    tagged = replace(entry(3, frame_id="f003"), tags={"city": "a\0b"})
    store.intake.apply([tagged], log="log", after=2, position=3, now=NOW)
    assert store.tasks.get("active", "f003", now=NOW).tags == {"city": "a\0b"}


def test_a_dump_made_while_all_runs_is_a_store_again(store: Store, postgres: Postgres, fill: Fill) -> None:
    fill(0.5, 0.4)
    (task,) = leased(store)
    assert task.status.lease is not None
    token = task.status.lease.token
    store.leases.acknowledge("active", "f000", token, FrameLabels("f000"), subject="ada", now=NOW)
    postgres.server.run("pg_dump", "--format=custom", "--file=store.dump", STORE)
    with postgres.database() as url:
        postgres.server.run("pg_restore", "--dbname", str(url_of(url).database), "store.dump")
        with Store.open(url) as restored:
            assert restored.labels.get("f000").labeller == "ada"
            assert lease(restored) == ["f001"]


def test_a_role_that_owns_nothing_can_do_all_the_work(
    store: Store, place: str, postgres: Postgres, fill: Fill, entry: Callable[..., TaskEntry]
) -> None:
    fill(0.5)
    granted = """
        CREATE ROLE app LOGIN;
        GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO app;
        GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO app
    """
    with postgres.server.connect(STORE) as connection:
        connection.execute(granted.encode())
        try:
            with Store.open(place.replace("://quandary@", "://app@")) as limited:
                (task,) = leased(limited)
                assert task.status.lease is not None
                token = task.status.lease.token
                limited.leases.acknowledge("active", "f000", token, FrameLabels("f000"), subject="ada", now=NOW)
                limited.intake.apply([entry(2, 0.4)], log="log", after=1, position=2, now=NOW)
                assert limited.ranking.write_ranks("active", ["f001"], now=NOW) == 1
                assert limited.answers()
        finally:
            connection.execute("DROP OWNED BY app; DROP ROLE app")
