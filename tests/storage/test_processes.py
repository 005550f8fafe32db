"""Several processes on one store: nobody leases twice, and whoever is killed loses nothing and repeats nothing."""

import json
import os
import random
import signal
import time
from collections.abc import Callable
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
from support.forked import ForkedScript

from quandary_server.leasing.status import TaskState
from quandary_server.storage import Store
from quandary_server.storage.fleet_log import SqliteFleetLog
from quandary_server.storage.frame_log import LogRecord
from quandary_server.storage.task_values import TaskEntry

NOW = datetime(2026, 1, 1, 12, 0, tzinfo=UTC)

LEASE_ALL = """
import json, sys
from datetime import UTC, datetime, timedelta
from quandary_server.storage import Store

store = Store.open(sys.argv[1])


def lease():
    now = datetime(2026, 1, 1, 12, 0, tzinfo=UTC)
    tasks = store.leases.lease("active", holder=sys.argv[2], max_tasks=3, duration=timedelta(hours=1), now=now)
    return [task.frame_id for task in tasks]


found = lease()
print("ready", flush=True)
sys.stdin.readline()
while more := lease():
    found += more
print(json.dumps(found))
"""

SELECT = """
import sys
from datetime import UTC, datetime, timedelta
from quandary.errors import Aborted
from quandary_server.storage import Store
from quandary_server.storage.fleet_log import SqliteFleetLog
from quandary_server.storage.task_values import RejectedEntry, TaskEntry

START = datetime(2026, 1, 1, 12, 0, tzinfo=UTC)
store, log = Store.open(sys.argv[1]), SqliteFleetLog.open(sys.argv[2])
print("ready", flush=True)
while True:
    sys.stdin.readline()  # a batch per line; all that are left once the input is closed
    after = store.intake.offset(log.name)
    read = log.read(log.name, after, 7).entries
    if not read:
        break
    entries = []
    for entry in read:
        if entry.payload == b"broken":
            entries.append(RejectedEntry(entry.position, "broken", entry.payload, entry.frame_id))
        else:
            known = (entry.frame_id, "drive", START, entry.payload, 1, 0, 0.5, "g1", b"score")
            entries.append(TaskEntry(entry.position, "active", *known))
    now = START + timedelta(seconds=after)
    try:
        applied = store.intake.apply(entries, log=log.name, after=after, position=read[-1].position, now=now)
    except Aborted:
        continue
    print("applied", applied.added, flush=True)
"""


def line_of(process: ForkedScript) -> str:
    return process.stdout.readline().strip()


def tell(process: ForkedScript, text: str) -> None:
    process.stdin.write(text)
    process.stdin.flush()


def fill_log(path: Path, frames: int) -> None:
    with SqliteFleetLog.open(path) as log:
        names = [f"f{i:04d}" for i in range(frames)]
        log.append([LogRecord(n, b"broken" if i % 50 == 49 else n.encode()) for i, n in enumerate(names)], now=NOW)


def check_every_frame_once(store: Store, log_path: Path, frames: int) -> None:
    broken = [i for i in range(frames) if i % 50 == 49]
    with SqliteFleetLog.open(log_path) as log:
        assert store.intake.offset(log.name) == log.end() == frames
        rejected = store.intake.rejected(log.name, page_size=500).items
    assert [entry.position - 1 for entry in rejected] == broken
    found: list[str] = []
    token = ""
    while True:
        page = store.tasks.list("active", TaskState.WAITING, page_size=500, page_token=token, now=NOW)
        found += [task.frame_id for task in page.items]
        assert all(task.record == task.frame_id.encode() for task in page.items)
        token = page.next_token
        if not token:
            break
    assert found == [f"f{i:04d}" for i in range(frames) if i not in broken]


@pytest.mark.parametrize(("places", "count"), [("sqlite", 2), ("postgresql", 4)], indirect=["places"])
def test_several_processes_lease_every_task_once_and_each_in_order(
    store: Store, place: str, entry: Callable[..., Any], count: int
) -> None:
    entries: list[TaskEntry] = [entry(i + 1, 9000.0 - i, frame_id=f"f{i:04d}") for i in range(1500)]
    store.intake.apply(entries, log="log", after=0, position=len(entries), now=NOW)
    workers = [ForkedScript(LEASE_ALL, place, f"labeller-{i}") for i in range(count)]
    assert [line_of(worker) for worker in workers] == ["ready"] * count
    for worker in workers:
        tell(worker, "go\n")
    found = [json.loads(worker.communicate(timeout=120)) for worker in workers]
    assert sorted(chain.from_iterable(found)) == [task.frame_id for task in entries]
    assert all(leased == sorted(leased) for leased in found)
    assert min(map(len, found)) >= 3


@pytest.mark.parametrize(("places", "kills"), [("sqlite", 8), ("postgresql", 3)], indirect=["places"])
def test_a_selector_killed_again_and_again_applies_every_frame_once(place: str, tmp_path: Path, kills: int) -> None:
    frames, rng = 900, random.Random(0)
    fill_log(tmp_path / "log.db", frames)
    for _ in range(kills):
        selector = ForkedScript(SELECT, place, tmp_path / "log.db")
        batches = rng.randint(1, 12)
        tell(selector, "\n" * (batches + 1))
        assert line_of(selector) == "ready"
        for _ in range(batches):
            assert line_of(selector).startswith("applied")
        # It is at one more batch now; strike at some point of it, of the some 2 ms that it takes.
        strike = time.perf_counter() + rng.uniform(0, 0.003)
        while time.perf_counter() < strike:
            pass
        os.kill(selector.pid, signal.SIGKILL)
        selector.communicate(timeout=60)
        assert selector.returncode == -signal.SIGKILL
    with Store.open(place) as store, SqliteFleetLog.open(tmp_path / "log.db") as log:
        assert 0 < store.intake.offset(log.name) < frames, "killed in the middle, or the test shows nothing"

    last = ForkedScript(SELECT, place, tmp_path / "log.db")
    last.communicate(timeout=120)
    assert last.returncode == 0
    with Store.open(place) as store:
        check_every_frame_once(store, tmp_path / "log.db", frames)


def test_two_selectors_on_one_log_do_not_both_apply(place: str, tmp_path: Path) -> None:
    frames = 600
    fill_log(tmp_path / "log.db", frames)
    selectors = [ForkedScript(SELECT, place, tmp_path / "log.db") for _ in range(2)]
    assert [line_of(selector) for selector in selectors] == ["ready"] * 2
    for selector in selectors:
        selector.stdin.close()  # both go on at once: told one after the other, the second would find nothing left
    outputs = [selector.communicate(timeout=120) for selector in selectors]
    assert [selector.returncode for selector in selectors] == [0, 0]
    added = sum(int(line.split()[1]) for output in outputs for line in output.splitlines())
    assert added == frames - frames // 50
    with Store.open(place) as store:
        check_every_frame_once(store, tmp_path / "log.db", frames)
