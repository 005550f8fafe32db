"""Training runs at the command line: listed, told line by line, ended."""

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
from support.grpc_thread import ServerThread
from support.waiting import wait_for

from quandary.v1 import training_pb2, training_pb2_grpc
from quandary_server.auth import Keyring, ensure_tokens
from quandary_server.cli.following import followed
from quandary_server.cli.session import training_client
from quandary_server.clock import now
from quandary_server.registry.directory import Registry
from quandary_server.settings import Settings, load_settings
from quandary_server.storage.run_values import RunStage, RunState, RunTrigger
from quandary_server.storage.store import Store
from quandary_server.trainer.scheduler import Scheduler
from quandary_server.trainer.servicer import TrainingServicer
from quandary_server.wire.door import Door

AT = datetime(2026, 1, 1, 12, 0, tzinfo=UTC)
Run = Callable[..., tuple[int, str]]


class Trainer:
    """A trainer that the commands reach: its store, and its server, which may go and come back at its port."""

    def __init__(self, settings: Settings, store: Store) -> None:
        self.store = store
        registry = Registry(settings.registry_directory)
        scheduler = Scheduler(store, registry, settings, now, lambda _: None)
        door = Door(Keyring(settings.tokens, now), lambda *_: None)
        self._servicer = TrainingServicer(door, store, registry, scheduler, now)
        self._server = self._started(0)
        self.target = self._server.target

    def go(self) -> None:
        self._server.stop()

    def come_back(self) -> None:
        self._server = self._started(int(self.target.rpartition(":")[2]))

    def _started(self, port: int) -> ServerThread:
        def register(server: grpc.aio.Server) -> None:
            training_pb2_grpc.add_TrainingServiceServicer_to_server(self._servicer, server)

        return ServerThread(register, {"quandary.v1.TrainingService": lambda: True}, port)


@pytest.fixture
def trainer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Trainer]:
    settings = load_settings(data=tmp_path / "data")
    settings.data.mkdir()
    ensure_tokens(settings.tokens)
    with settings.open_store() as opened:
        running = Trainer(settings, opened)
        monkeypatch.setenv("QUANDARY_DATA", str(settings.data))
        monkeypatch.setenv("QUANDARY_TRAINER__PORT", running.target.rpartition(":")[2])
        yield running
        running.go()


@pytest.fixture
def store(trainer: Trainer) -> Store:
    return trainer.store


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


def test_a_run_is_followed_through_a_restart_of_its_trainer(trainer: Trainer) -> None:
    run = trainer.store.runs.create(trigger=RunTrigger.CALL, now=AT)
    trainer.store.run_log.add(run.id, "started", now=AT)
    told: list[str] = []

    def follow() -> RunState:
        with training_client(load_settings()) as client:
            states = []
            for found, lines in followed(client, run.id):
                states.append(training_pb2.RunState.Name(found.state).removeprefix("RUN_STATE_"))
                told.extend(line.text for line in lines)
        return RunState[states[-1]]

    with ThreadPoolExecutor(1) as thread:
        following = thread.submit(follow)
        wait_for(lambda: told)
        trainer.go()
        trainer.store.run_log.add(run.id, "resumed", now=AT)
        trainer.come_back()
        trainer.store.runs.finish(run.id, RunState.SUCCEEDED, now=AT)
        assert following.result(timeout=60) is RunState.SUCCEEDED
    assert told == ["started", "resumed", "succeeded after 0.0 s"]


def test_a_trainer_that_was_never_there_is_not_waited_for(trainer: Trainer, quandary: Run) -> None:
    trainer.go()
    code, said = quandary("runs", "logs", "run-000001", "--follow")
    assert code == 1
    assert said.startswith("Unavailable")
    trainer.come_back()
