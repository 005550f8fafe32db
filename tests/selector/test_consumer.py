"""The log's records become tasks, each exactly once, scored by a real scoring service."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from support.records import START, log_record, record_of
from support.scoring import ScoringService
from support.tally import CountingTally

from quandary import AsyncScoringClient, FrameRecord, ScoringOptions
from quandary.convert import record_message
from quandary.errors import CorruptArtefact, Unauthenticated, Unavailable
from quandary.v1 import fleet_log_pb2, scoring_pb2
from quandary_server.cluster import free_ports
from quandary_server.registry.directory import Artefacts
from quandary_server.selector.assignment import Assignment
from quandary_server.selector.consumer import Consumer
from quandary_server.selector.frame_scores import FrameScorer
from quandary_server.selector.pace import Pace
from quandary_server.storage.fleet_log import SqliteFleetLog
from quandary_server.storage.frame_log import FrameLog, LogBatch, LogRecord, SourceLag
from quandary_server.storage.mcap_log import McapLog
from quandary_server.storage.mcap_writer import McapLogWriter
from quandary_server.storage.store import Store

PACE = Pace(batch=4, in_flight=3, poll=timedelta(milliseconds=10))
NOW = START + timedelta(hours=1)
MakeRecords = Callable[[int], list[FrameRecord]]


@pytest.fixture
def records(make_frame: Any, tmp_path: Path) -> MakeRecords:
    return lambda count: [record_of(make_frame(f"f{i}", seed=i), tmp_path / "clouds", at_s=i) for i in range(count)]


class Selector:
    """A consumer over real parts."""

    def __init__(self, target: str, token: str | Callable[[], str], fleet_log: FrameLog, store: Store) -> None:
        self._target, self._token, self._log, self._store = target, token, fleet_log, store
        self._tally = CountingTally()
        self.counts = self._tally.counts
        self.waits = 0
        self.seconds: list[float] = []

    def run(self, work: Callable[[Consumer], Awaitable[None]], control: frozenset[str] = frozenset()) -> None:
        async def go() -> None:
            async with AsyncScoringClient(self._target, token=self._token) as client:
                scorer = FrameScorer(client, ScoringOptions(), self._wait, self.seconds.append)
                assignment = Assignment(0.0, control, seed=0)
                await work(Consumer(self._log, self._store, scorer, assignment, lambda: NOW, self._tally, PACE))

        asyncio.run(go())

    def drain(self, control: frozenset[str] = frozenset()) -> None:
        async def work(consumer: Consumer) -> None:
            while await consumer.step():
                pass
            assert consumer.lag() == 0

        self.run(work, control)

    def _wait(self) -> None:
        self.waits += 1


@pytest.fixture
def selector(scoring: ScoringService, fleet_log: SqliteFleetLog, store: Store) -> Selector:
    return Selector(scoring.target, scoring.token, fleet_log, store)


def waiting(store: Store, queue: str = "active") -> list[Any]:
    return list(store.tasks.list(queue, page_size=500, now=NOW).items)


def test_without_a_generation_frames_wait_unscored_in_a_seeded_order(
    selector: Selector, fleet_log: SqliteFleetLog, store: Store, records: MakeRecords
) -> None:
    found = records(10)
    fleet_log.append([log_record(record) for record in found], now=NOW)
    selector.drain()
    tasks = waiting(store)
    assert {task.frame_id for task in tasks} == {record.frame_id for record in found}
    assert all(task.place.score is None and task.generation == "" for task in tasks)
    expected = sorted(found, key=lambda record: Assignment(0.0, frozenset(), seed=0).shuffle(record.frame_id))
    assert [task.frame_id for task in tasks] == [record.frame_id for record in expected]


def test_with_a_generation_they_wait_ranked_by_its_scores(
    scoring: ScoringService, selector: Selector, fleet_log: SqliteFleetLog, store: Store, records: MakeRecords
) -> None:
    generation = scoring.register()
    scoring.promote(generation)
    fleet_log.append([log_record(record) for record in records(9)], now=NOW)
    selector.drain()
    tasks = waiting(store)
    assert {task.generation for task in tasks} == {generation}
    scores = [task.place.score for task in tasks]
    assert scores == sorted(scores, reverse=True)
    stored = scoring_pb2.FrameScore.FromString(tasks[0].frame_score)
    assert stored.score == tasks[0].place.score
    assert len(stored.objects) == tasks[0].crops == 3
    assert selector.counts == {"applied": 9}


def test_a_frame_published_twice_or_by_a_second_run_is_one_task(
    selector: Selector, fleet_log: SqliteFleetLog, store: Store, records: MakeRecords
) -> None:
    published = [log_record(record) for record in records(5)]
    fleet_log.append(published, now=NOW)
    fleet_log.append(published[:3], now=NOW)
    selector.drain()
    selector.drain()
    assert sorted(task.frame_id for task in waiting(store)) == [f"f{i}" for i in range(5)]
    assert store.intake.offset(fleet_log.name) == 8


def test_frames_of_control_drives_go_to_their_own_queue_and_are_never_scored(
    scoring: ScoringService, selector: Selector, fleet_log: SqliteFleetLog, store: Store, records: MakeRecords
) -> None:
    scoring.promote(scoring.register())
    mixed = [replace(r, drive_id="kept" if i % 2 else "other") for i, r in enumerate(records(6))]
    fleet_log.append([log_record(record) for record in mixed], now=NOW)
    selector.drain(control=frozenset({"kept"}))
    assert {task.drive_id for task in waiting(store, "control")} == {"kept"}
    assert {task.place.score for task in waiting(store, "control")} == {None}
    assert {task.drive_id for task in waiting(store)} == {"other"}
    assert all(task.place.score is not None for task in waiting(store))


def test_what_is_wrong_with_a_record_is_kept_with_its_reason_and_stops_nothing(
    scoring: ScoringService, selector: Selector, fleet_log: SqliteFleetLog, store: Store, records: MakeRecords, tmp_path: Path
) -> None:
    scoring.promote(scoring.register())
    found = records(6)
    torn = tmp_path / "clouds" / "f1.bin"
    torn.write_bytes(torn.read_bytes()[:-5])
    (tmp_path / "clouds" / "f2.bin").unlink()
    remote = replace(found[3], cloud_uri="https://example.org/cloud.bin")
    absurd = record_message(found[4])
    absurd.proposals[0].box.left_px = 1e9
    published = [
        log_record(found[0]),
        log_record(found[1]),
        log_record(found[2]),
        log_record(remote),
        LogRecord("f4", absurd.SerializeToString()),
        LogRecord("junk", b"\xff\xff\xff"),
        LogRecord("empty", b""),
        log_record(found[5]),
    ]
    fleet_log.append(published, now=NOW)
    selector.drain()
    assert sorted(task.frame_id for task in waiting(store)) == ["f0", "f5"]
    reasons = {entry.frame_id: entry.reason for entry in store.intake.rejected(fleet_log.name).items}
    assert "16" in reasons["f1"]
    assert "f2.bin" in reasons["f2"]
    assert "https" in reasons["f3"]
    assert "proposals[0].box.left_px" in reasons["f4"]
    assert reasons["junk"] == "the payload is no FrameRecord"
    assert "stamp is missing" in reasons["empty"]
    assert selector.counts == {"applied": 2, "cloud": 3, "invalid": 2, "undecodable": 1}
    payloads = {entry.frame_id: entry.payload for entry in store.intake.rejected(fleet_log.name).items}
    assert payloads["junk"] == b"\xff\xff\xff"


def test_a_score_that_came_with_the_record_is_taken_as_it_is(
    selector: Selector, fleet_log: SqliteFleetLog, store: Store, records: MakeRecords
) -> None:
    message = record_message(records(1)[0])
    message.upstream_score.generation = "g000007-00000000"
    message.upstream_score.score.score = 0.25
    unnamed = fleet_log_pb2.FrameRecord.FromString(message.SerializeToString())
    unnamed.frame_id, unnamed.upstream_score.generation = "unnamed", ""
    fleet_log.append([LogRecord("f0", message.SerializeToString()), LogRecord("unnamed", unnamed.SerializeToString())], now=NOW)
    selector.drain()
    (task,) = waiting(store)
    assert (task.place.score, task.generation) == (0.25, "g000007-00000000")
    (entry,) = store.intake.rejected(fleet_log.name).items
    assert entry.frame_id == "unnamed"


def test_while_scoring_is_away_nothing_is_lost_and_nothing_moves(
    tmp_path: Path, generation: Artefacts, fleet_log: SqliteFleetLog, store: Store, records: MakeRecords
) -> None:
    (port,) = free_ports(1)
    scoring = ScoringService(tmp_path, generation)
    selector = Selector(f"127.0.0.1:{port}", scoring.token, fleet_log, store)
    fleet_log.append([log_record(record) for record in records(3)], now=NOW)

    async def work(consumer: Consumer) -> None:
        step = asyncio.create_task(consumer.step())
        while not selector.waits:
            await asyncio.sleep(0)
        assert store.intake.offset(fleet_log.name) == 0
        await asyncio.to_thread(scoring.start, port)
        await asyncio.to_thread(scoring.promote, scoring.register())
        assert await step

    selector.run(work)
    scoring.stop()
    assert len(waiting(store)) == 3


def test_a_fault_that_is_not_the_frames_refuses_no_frame(
    scoring: ScoringService, fleet_log: SqliteFleetLog, store: Store, records: MakeRecords
) -> None:
    scoring.promote(scoring.register())
    fleet_log.append([log_record(record) for record in records(3)], now=NOW)
    faults = [Unauthenticated("the token was changed"), CorruptArtefact("the token file is torn")]

    def token() -> str:
        if told.waits < 3:
            return "a token that nobody gave".replace(" ", "-")
        if told.waits < 5:
            raise faults[told.waits % 2]
        return scoring.token

    told = Selector(scoring.target, token, fleet_log, store)
    told.drain()
    assert told.waits >= 5
    assert told.counts == {"applied": 3}
    assert all(task.generation for task in waiting(store))
    assert len(told.seconds) == 3


def test_of_two_selectors_on_one_log_each_record_is_applied_by_one(
    selector: Selector, fleet_log: SqliteFleetLog, store: Store, records: MakeRecords
) -> None:
    fleet_log.append([log_record(record) for record in records(12)], now=NOW)

    async def work(consumer: Consumer) -> None:
        loops = [asyncio.create_task(consumer.run()) for _ in range(2)]
        while consumer.lag():
            await asyncio.sleep(0)
        for loop in loops:
            loop.cancel()
        await asyncio.gather(*loops, return_exceptions=True)

    selector.run(work)
    assert len(waiting(store)) == 12
    # the last batch may be applied and its count cancelled
    assert selector.counts["applied"] in (8, 12)
    assert store.intake.offset(fleet_log.name) == 12


def test_clouds_in_mcap_files_are_scored_as_those_in_files_of_their_own(
    scoring: ScoringService, selector: Selector, fleet_log: SqliteFleetLog, store: Store, records: MakeRecords, tmp_path: Path
) -> None:
    scoring.promote(scoring.register())
    found = [log_record(record) for record in records(5)]
    fleet_log.append(found, now=NOW)
    selector.drain()
    writer = McapLogWriter(tmp_path / "mcap", "zstd", rotate_bytes=2**30)
    writer.append(found, now=NOW)
    writer.close()
    with Store.open(tmp_path / "other.db") as other:
        mcap = Selector(scoring.target, scoring.token, McapLog(tmp_path / "mcap", PACE.poll, lambda: NOW), other)
        mcap.drain()
        assert mcap.counts == {"applied": 5}
        scores = {task.frame_id: task.place.score for task in waiting(other)}
    assert scores == {task.frame_id: task.place.score for task in waiting(store)}


def test_a_cloud_that_cannot_be_read_now_is_waited_for(
    selector: Selector,
    fleet_log: SqliteFleetLog,
    store: Store,
    records: MakeRecords,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    away = tmp_path / "away.bin"
    away.symlink_to("/proc/self/mem")  # a regular file, of which the first byte cannot be read
    found = records(3)
    fleet_log.append([log_record(replace(found[0], cloud_uri=away.as_uri())), *map(log_record, found[1:])], now=NOW)

    async def work(consumer: Consumer) -> None:
        assert not await consumer.step()
        assert store.intake.offset(fleet_log.name) == 0
        away.unlink()
        away.write_bytes((tmp_path / "clouds" / "f0.bin").read_bytes())
        assert await consumer.step()

    selector.run(work)
    assert "cannot be read: Input/output error" in caplog.text
    assert len(waiting(store)) == 3


class HalfBroken(SqliteFleetLog):
    """A log of two sources, of which one cannot be read."""

    problem: Exception

    def sources(self) -> Sequence[str]:
        return ("broken", *super().sources())

    def read(self, source: str, after: int, limit: int) -> LogBatch:
        if source == "broken":
            raise self.problem
        return super().read(source, after, limit)

    def lags(self, offset: Callable[[str], int]) -> Sequence[SourceLag]:
        return []


@pytest.mark.parametrize(
    ("problem", "event"),
    [(Unavailable("the disk is away"), "log_or_store_away"), (ZeroDivisionError("a fault of ours"), "source_broken")],
)
def test_a_source_that_cannot_be_read_holds_up_no_other(
    problem: Exception,
    event: str,
    scoring: ScoringService,
    fleet_log: SqliteFleetLog,
    store: Store,
    records: MakeRecords,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    fleet_log.append([log_record(record) for record in records(2)], now=NOW)
    with HalfBroken.open(tmp_path / "fleet.log.db") as broken:
        broken.problem = problem
        Selector(scoring.target, scoring.token, broken, store).drain()
    assert len(waiting(store)) == 2
    assert f"{event} source=broken problem={problem}" in caplog.text
