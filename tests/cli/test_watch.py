"""The queues looked at: as they stand, live, and what happened to them."""

import json
import os
import pty
import signal
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from support.labelling import Server
from support.records import START

from quandary_server.cli.queue_watch import age
from quandary_server.storage.task_values import TaskEntry

Run = Callable[..., tuple[int, str]]


def test_the_audit_tells_who_put_a_task_where_and_why(server: Server, quandary: Run) -> None:
    quandary("queue", "band", "f4", "safety", "--comment", "crash 12")
    quandary("queue", "lease")
    code, said = quandary("queue", "audit", "f4")
    assert code == 0
    assert "2026-01-01 00:00:00 admin band active/f4 band active_learning, comment crash 12, to safety" in said
    assert said.endswith("admin lease active/f4 band safety, expires 2026-01-01T00:15:00+00:00")
    assert [event["action"] for event in json.loads(quandary("queue", "audit", "-n", "1", "--json")[1])] == ["lease"]
    assert [event["action"] for event in json.loads(quandary("queue", "audit", "--json")[1])] == ["band", "lease"]


def test_the_audit_of_a_task_that_there_is_not_is_refused(server: Server, quandary: Run) -> None:
    assert quandary("queue", "audit", "f3") == (0, "nothing happened yet")
    assert quandary("queue", "audit", "f33") == (1, "NotFound: there is no task f33 in queue active")
    assert quandary("queue", "why", "f3", "--queue", "control") == (
        1,
        "NotFound: there is no task f3 in queue control; it is in active",
    )


def test_a_look_tells_queues_holders_and_what_comes_next(server: Server, quandary: Run) -> None:
    quandary("queue", "lease", "-n", "2")
    code, said = quandary("queue", "watch", "--once", "--head", "2")
    assert code == 0
    queues, holders, head = said.replace("Who holds what", "|").replace(" Next ", "|").split("|")
    assert "active 4 0 2 0 0 0" in queues
    assert "admin active 2" in holders
    assert holders.rstrip().endswith("f0, f1")
    assert "active 1 f2 drive - - No generation has scored it yet" in head
    assert "f4" not in head
    found = json.loads(quandary("queue", "watch", "--json", "--head", "1")[1])
    assert [task["frame_id"] for task in found["head"]] == ["f2"]
    assert [task["lease"]["holder"] for task in found["leased"]] == ["admin", "admin"]


def test_queues_of_the_settings_are_counted_watched_and_leased_by_name(server: Server, quandary: Run) -> None:
    server.store.intake.declare(["night"])
    entry = TaskEntry(7, "night", "n0", "dark", START, server.store.tasks.get("active", "f0", now=START).record, 3, shuffle=0)
    server.store.intake.apply([entry], log="log", after=6, position=7, now=START)
    counts = json.loads(quandary("queue", "stats", "--json")[1])
    assert [queue["name"] for queue in counts] == ["queues/active", "queues/control", "queues/night"]
    assert [queue["name"] for queue in json.loads(quandary("queue", "stats", "--queue", "night", "--json")[1])] == [
        "queues/night"
    ]
    found = json.loads(quandary("queue", "watch", "--queue", "night", "--queue", "control", "--json")[1])
    assert [queue["name"] for queue in found["queues"]] == ["queues/night", "queues/control"]
    assert [task["frame_id"] for task in found["head"]] == ["n0"]
    assert [task["frame_id"] for task in json.loads(quandary("queue", "lease", "--queue", "night", "--json")[1])] == ["n0"]
    assert quandary("queue", "lease", "--queue", "night") == (0, "the queue night is empty")
    for command in ("stats", "watch", "lease"):
        assert quandary("queue", command, "--queue", "nihgt") == (1, "NotFound: there is no queue nihgt")


@pytest.mark.parametrize(
    ("seconds", "told"), [(-3, "0 s"), (59, "59 s"), (61, "1 min 01 s"), (7_320, "2 h 02 min"), (180_000, "2 d 2 h")]
)
def test_ages_have_their_two_largest_units(seconds: int, told: str) -> None:
    assert age(timedelta(seconds=seconds)) == told


def test_ctrl_c_ends_a_watch_in_order_and_leaves_the_last_look(server: Server, tmp_path: Path) -> None:
    mine, its = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "120", "LINES": "40"}
    command = [sys.executable, "-m", "quandary_server.cli", "queue", "watch", "--interval", "0.2"]
    process = subprocess.Popen(command, stdin=its, stdout=its, stderr=its, env=environment)
    os.close(its)
    said = b""
    try:
        while b"Ctrl-C ends" not in said:
            said += os.read(mine, 65_536)
        process.send_signal(signal.SIGINT)
        said = b""
        while chunk := _read(mine):
            said += chunk
        assert process.wait(30) == 0
    finally:
        process.kill()
        process.wait()
        os.close(mine)
    assert b"Who holds what" in said
    assert b"Traceback" not in said


def _read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 65_536)
    except OSError:  # Linux says so of a terminal that nobody writes to any more
        return b""
