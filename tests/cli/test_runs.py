"""Training runs at the command line: listed, told line by line, ended."""

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
from support.grpc_thread import ServerThread

from quandary.v1 import training_pb2_grpc
from quandary_server.auth import Keyring, ensure_tokens
from quandary_server.clock import now
from quandary_server.registry.directory import Registry
from quandary_server.settings import load_settings
from quandary_server.storage.run_values import RunStage, RunState, RunTrigger
from quandary_server.storage.store import Store
from quandary_server.trainer.scheduler import Scheduler
from quandary_server.trainer.servicer import TrainingServicer
from quandary_server.wire.door import Door

AT = datetime(2026, 1, 1, 12, 0, tzinfo=UTC)
Run = Callable[..., tuple[int, str]]


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    """The store of a trainer that the commands reach."""
    settings = load_settings(data=tmp_path / "data")
    settings.data.mkdir()
    ensure_tokens(settings.tokens)
    with settings.open_store() as opened:
        scheduler = Scheduler(opened, Registry(settings.registry_directory), settings, now, lambda _: None)
        door = Door(Keyring(settings.tokens, now), lambda *_: None)
        servicer = TrainingServicer(door, opened, Registry(settings.registry_directory), scheduler, now)

        def register(server: grpc.aio.Server) -> None:
            training_pb2_grpc.add_TrainingServiceServicer_to_server(servicer, server)

        server = ServerThread(register, {"quandary.v1.TrainingService": lambda: True})
        monkeypatch.setenv("QUANDARY_DATA", str(settings.data))
        monkeypatch.setenv("QUANDARY_TRAINER__PORT", server.target.rpartition(":")[2])
        yield opened
        server.stop()


def test_a_run_is_listed_told_and_ended(store: Store, quandary: Run) -> None:
    assert quandary("runs") == (0, "no runs yet")
    run = store.runs.create(trigger=RunTrigger.DRIFT, holder="one", now=AT)
    store.run_log.add(run.id, "started: the live scores have drifted: PSI 0.40 nats, p = 0.002 [200 frames]", now=AT)
    store.runs.update(run.id, now=AT, stage=RunStage.TRAINING)
    code, said = quandary("runs")
    assert code == 0
    assert "run-000001 running training drift" in said
    told = "12:00:00 started: the live scores have drifted: PSI 0.40 nats, p = 0.002 [200 frames]"
    assert quandary("runs", "logs", run.id) == (0, told)

    code, said = quandary("runs", "cancel", run.id)
    assert (code, said) == (0, "runs/run-000001 cancelled: cancelled by admin in stage training")
    code, said = quandary("runs", "logs", run.id, "--follow")
    assert code == 0
    assert said.startswith(f"{told} ")
    assert said.endswith(": cancelled by admin in stage training")


def test_what_cannot_be_ended_or_is_not_there_says_why(store: Store, quandary: Run) -> None:
    run = store.runs.create(trigger=RunTrigger.CALL, now=AT)
    store.runs.finish(run.id, RunState.SUCCEEDED, now=AT + timedelta(seconds=90), generation="g000001-00000000")
    assert quandary("runs", "cancel", run.id) == (1, "WrongState: run-000001 is succeeded")
    for command in (("cancel",), ("logs",), ("show",)):
        assert quandary("runs", *command, "run-000009") == (1, "NotFound: there is no run run-000009")


def test_programs_read_json(store: Store, command_line: Any) -> None:
    run = store.runs.create(trigger=RunTrigger.CALL, now=AT)
    store.run_log.add(run.id, "started", now=AT)
    (listed,) = json.loads(command_line("runs", "--json").out)
    assert (listed["name"], listed["resumptions"]) == ("runs/run-000001", 0)
    assert json.loads(command_line("runs", "show", run.id).out) == listed
    (line,) = command_line("runs", "logs", run.id, "--json").out.splitlines()
    assert json.loads(line) == {"time": "2026-01-01T12:00:00Z", "text": "started"}
