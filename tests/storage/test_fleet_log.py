"""The SQLite fleet log."""

import shutil
import sqlite3
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from quandary.errors import InvalidArgument, TooLarge, Unavailable
from quandary_server.storage.fleet_log import SqliteFleetLog
from quandary_server.storage.frame_log import LogEntry, LogRecord

NOW = datetime(2026, 1, 1, 12, 0, tzinfo=UTC)
LATER = NOW + timedelta(seconds=1)


@pytest.fixture
def log(tmp_path: Path) -> Iterator[SqliteFleetLog]:
    with SqliteFleetLog.open(tmp_path / "log.db") as opened:
        yield opened


def read(log: SqliteFleetLog, after: int, limit: int) -> tuple[LogEntry, ...]:
    (source,) = log.sources()
    return log.read(source, after, limit).entries


def records(*frame_ids: str) -> list[LogRecord]:
    return [LogRecord(frame_id, frame_id.encode()) for frame_id in frame_ids]


def test_records_are_read_in_the_order_of_their_appending(log: SqliteFleetLog) -> None:
    assert (log.end(), read(log, 0, 10)) == (0, ())
    log.append(records("a", "b"), now=NOW)
    log.append(records("c"), now=LATER)
    assert read(log, 0, 10) == (
        LogEntry(1, "a", b"a", NOW),
        LogEntry(2, "b", b"b", NOW),
        LogEntry(3, "c", b"c", LATER),
    )
    assert log.end() == 3


def test_a_reader_goes_on_behind_where_it_stopped(log: SqliteFleetLog) -> None:
    log.append(records("a", "b", "c", "d", "e"), now=NOW)
    first = read(log, 0, 2)
    second = read(log, first[-1].position, 2)
    third = read(log, second[-1].position, 2)
    assert [entry.frame_id for entry in (*first, *second, *third)] == ["a", "b", "c", "d", "e"]
    assert read(log, third[-1].position, 2) == ()


def test_a_frame_published_twice_is_logged_twice(log: SqliteFleetLog) -> None:
    log.append(records("a", "a"), now=NOW)
    assert [entry.frame_id for entry in read(log, 0, 10)] == ["a", "a"]


def test_a_log_keeps_its_name_and_a_new_one_has_another(tmp_path: Path) -> None:
    names = []
    for file in ("log.db", "log.db", "other.db"):
        with SqliteFleetLog.open(tmp_path / file) as log:
            names.append(log.name)
    assert names[0] == names[1] != names[2]


def test_what_one_appends_another_reads_at_once(log: SqliteFleetLog, tmp_path: Path) -> None:
    with SqliteFleetLog.open(f"sqlite:///{tmp_path / 'log.db'}") as other:
        other.append(records("a"), now=NOW)
        log.append(records("b"), now=NOW)
        assert [entry.frame_id for entry in read(other, 0, 10)] == ["a", "b"]


@pytest.mark.parametrize(("after", "limit", "field"), [(-1, 1, "after"), (0, 0, "limit")])
def test_a_read_out_of_bounds_is_refused(log: SqliteFleetLog, after: int, limit: int, field: str) -> None:
    with pytest.raises(InvalidArgument, match=field):
        read(log, after, limit)


def test_nothing_malformed_or_huge_is_logged(log: SqliteFleetLog) -> None:
    with pytest.raises(InvalidArgument, match="records"):
        log.append([], now=NOW)
    with pytest.raises(InvalidArgument, match="frame_id"):
        LogRecord("a/b", b"")
    with pytest.raises(TooLarge, match="1048577 bytes"):
        LogRecord("a", bytes(2**20 + 1))
    assert log.end() == 0


def test_a_reader_goes_on_with_the_file_that_replaced_its_own(log: SqliteFleetLog, tmp_path: Path) -> None:
    log.append(records("old", "older"), now=NOW)
    before = log.name
    remove(tmp_path / "log.db")
    with pytest.raises(Unavailable, match="the fleet log is gone"):
        read(log, 0, 10)
    with SqliteFleetLog.open(tmp_path / "log.db") as other:
        other.append(records("new"), now=NOW)
        assert [entry.frame_id for entry in read(log, 0, 10)] == ["new"]
        assert log.name == other.name != before
        log.append(records("newer"), now=NOW)
        assert [entry.frame_id for entry in read(other, 1, 10)] == ["newer"]
    assert log.end() == 2


def test_an_older_state_of_the_log_is_told_and_not_taken_for_silence(log: SqliteFleetLog, tmp_path: Path) -> None:
    log.append(records("a"), now=NOW)
    log.close()  # which writes its last state into the one file
    shutil.copy(tmp_path / "log.db", tmp_path / "backup.db")
    log.append(records("b", "c"), now=NOW)
    assert read(log, 3, 10) == ()
    remove(tmp_path / "log.db")
    shutil.copy(tmp_path / "backup.db", tmp_path / "log.db")
    for _ in range(2):
        with pytest.raises(Unavailable, match="replaced by another: it ends at 1, read was up to 3"):
            read(log, 3, 10)
    assert [entry.frame_id for entry in read(log, 0, 10)] == ["a"]


def remove(path: Path) -> None:
    for file in path.parent.glob(f"{path.name}*"):
        file.unlink()


def test_a_log_of_partitions_keeps_drives_together_and_in_order(tmp_path: Path) -> None:
    made = [LogRecord(f"f{i}", b"", f"drive-{i % 30}") for i in range(90)]
    with SqliteFleetLog.open(tmp_path / "parts.db", partitions=4) as log:
        log.append(made, now=NOW)
        found = {source: log.read(source, 0, 1000).entries for source in log.sources()}
        assert list(found) == [f"{log.name}/{i}" for i in range(4)]
        drives = [{int(entry.frame_id[1:]) % 30 for entry in entries} for entries in found.values()]
        assert sorted(drive for of in drives for drive in of) == list(range(30))
        assert sorted(entry.position for entries in found.values() for entry in entries) == list(range(1, 91))
        for entries in found.values():
            assert [entry.position for entry in entries] == sorted(entry.position for entry in entries)
        waiting = [lag.waiting for lag in log.lags(lambda source: found[source][0].position)]
        assert waiting == [len(entries) - 1 for entries in found.values()]
        assert [entry.frame_id for entry in log.tail(2)] == ["f88", "f89"]
    with SqliteFleetLog.open(tmp_path / "parts.db") as log:
        assert log.partitions == 4, "decided when it was made"


def test_a_log_of_before_is_one_partition_without_the_column(tmp_path: Path) -> None:
    with SqliteFleetLog.open(tmp_path / "old.db") as log:
        log.append(records("a"), now=NOW)
    with sqlite3.connect(tmp_path / "old.db") as connection:
        connection.execute("DROP INDEX entries_of_partition")
        connection.execute("ALTER TABLE entries DROP COLUMN partition")
    with SqliteFleetLog.open(tmp_path / "old.db", partitions=4) as log:
        log.append(records("b"), now=NOW)
        assert [entry.frame_id for entry in read(log, 0, 10)] == ["a", "b"]
        assert [lag.waiting for lag in log.lags(lambda _: 1)] == [1]


def test_partitions_out_of_bounds_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match=r"partitions is 257, must be in \[1, 256\]"):
        SqliteFleetLog.open(tmp_path / "log.db", partitions=257)
