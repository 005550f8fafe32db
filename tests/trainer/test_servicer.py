"""TrainingService through a real channel, over a real registry and a real Ray."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import grpc
import pytest
from support.grpc_thread import ServerThread

from quandary import (
    CorruptArtefact,
    GateRefused,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    PointerMoved,
    TrainingClient,
    WrongState,
)
from quandary.v1 import training_pb2, training_pb2_grpc, view_pb2
from quandary_server.auth import Keyring, Role, ensure_tokens, issue_token
from quandary_server.clock import now
from quandary_server.registry.directory import Artefacts
from quandary_server.registry.manifest import GateRecord, Manifest
from quandary_server.registry.roster import Heartbeat
from quandary_server.settings import Settings
from quandary_server.storage.run_values import RunState, RunTrigger
from quandary_server.storage.store import Store
from quandary_server.trainer.scheduler import Scheduler
from quandary_server.trainer.servicer import TrainingServicer
from quandary_server.wire.door import Door


class Server:
    """The servicer on a free port."""

    def __init__(self, settings: Settings, store: Store, generation: Artefacts) -> None:
        self.store, self.settings, self._generation = store, settings, generation
        self.registry = settings.open_registry()
        self.token = ensure_tokens(settings.tokens)
        self.scheduler = Scheduler(store, self.registry, settings, now, lambda _: None)
        door = Door(Keyring(settings.tokens, now), lambda *_: None)
        servicer = TrainingServicer(door, store, self.registry, self.scheduler, now)

        def register(server: grpc.aio.Server) -> None:
            training_pb2_grpc.add_TrainingServiceServicer_to_server(servicer, server)

        self._server = ServerThread(register, {"quandary.v1.TrainingService": lambda: True})
        self.target, self.stop = self._server.target, self._server.stop

    def client(self, token: str | None = None) -> TrainingClient:
        return TrainingClient(self.target, token=token or self.token)

    def register(self, *, temperature: float, gates: tuple[GateRecord, ...] = (), run: str = "") -> str:
        def describe(number: int, name: str, files: dict[str, str]) -> Manifest:
            known = {"number": number, "generation": name, "files": files}
            return self._generation.manifest.model_copy(
                update={**known, "temperature": temperature, "gates": gates, "run": run}
            )

        members = {f"member-{k}.onnx": member for k, member in enumerate(self._generation.members)}
        return self.registry.register(members, describe).generation

    def promote(self, generation: str) -> None:
        self.registry.promote(generation, self.registry.pointer(), datetime.now(UTC), "test")


@pytest.fixture
def server(settings: Settings, store: Store, generation: Artefacts) -> Iterator[Server]:
    running = Server(settings, store, generation)
    yield running
    running.stop()


REFUSED = GateRecord(gate="nll_floor", verdict="refused", candidate=9.0, reference=3.0, reason="too high")


def test_a_run_is_started_watched_and_listed(server: Server, label: Any, ray_cluster: str) -> None:
    label(8)
    with server.client() as client:
        started = client.start_run(steps=10, seed=3)
        assert started.name == "runs/run-000001"
        assert (started.state, started.requester) == (training_pb2.RUN_STATE_RUNNING, "admin")
        with pytest.raises(WrongState, match="run-000001 is running"):
            client.start_run()
        stages = [run.stage for run in client.watch_run(started.name)]
        assert stages == sorted(stages)
        assert stages[-1] == training_pb2.RUN_STAGE_DONE
        ended = client.get_run(started.name)
        assert (ended.state, ended.error) == (training_pb2.RUN_STATE_SUCCEEDED, "")
        assert [run.name for run in client.list_runs()] == [started.name]
        current = client.get_generation()
        assert (current.name, current.state) == (ended.generation, training_pb2.GENERATION_STATE_CURRENT)
        assert current.run == started.name
        assert set(current.digests) == {"member-0.onnx", "member-1.onnx"}


def test_generations_are_listed_newest_first_in_pages(server: Server) -> None:
    names = [server.register(temperature=1.0 + i) for i in range(5)]
    server.promote(names[1])
    with server.client() as client:
        found = list(client.list_generations(page_size=2))
        full = next(iter(client.list_generations(view=view_pb2.VIEW_FULL)))
    assert [g.name for g in found] == [f"generations/{name}" for name in reversed(names)]
    states = {g.name: g.state for g in found}
    assert states[f"generations/{names[1]}"] == training_pb2.GENERATION_STATE_CURRENT
    assert states[f"generations/{names[0]}"] == training_pb2.GENERATION_STATE_REGISTERED
    assert not found[0].digests
    assert full.digests


def test_promoting_and_rolling_back(server: Server) -> None:
    first, second = server.register(temperature=1.0), server.register(temperature=2.0)
    with server.client() as client:
        with pytest.raises(NotFound, match="no generation has been promoted yet"):
            client.get_generation()
        with pytest.raises(WrongState, match="nothing to roll back"):
            client.rollback()
        assert list(client.promote(first).replicas) == []
        server.registry.roster.beat(Heartbeat(replica="r", generation=second, beaten=now()))
        assert list(client.promote(second, expected_current=first).replicas) == ["r"]
        server.registry.roster.beat(Heartbeat(replica="r", generation=first, beaten=now()))
        back = client.rollback()
        assert (back.generation.name, list(back.replicas)) == (f"generations/{first}", ["r"])
        with pytest.raises(WrongState, match="first generation"):
            client.rollback()


def test_what_the_shadow_found_is_told_with_the_generation(server: Server) -> None:
    run = server.store.runs.create(trigger=RunTrigger.CALL, now=now())
    server.store.runs.update(run.id, now=now(), metrics={"shadow_frames": 40.0, "seconds_shadow": 3.0})
    generation = server.register(temperature=1.0, run=run.id)
    with server.client() as client:
        assert dict(client.get_generation(generation).metrics) == {"shadow_frames": 40.0}
        assert dict(client.get_generation(server.register(temperature=2.0, run="run-000099")).metrics) == {}


def test_a_promotion_over_another_one_is_told(server: Server) -> None:
    first, second = server.register(temperature=1.0), server.register(temperature=2.0)
    server.promote(first)
    with server.client() as client, pytest.raises(PointerMoved, match=f"current generation is generations/{first}"):
        client.promote(second, expected_current=second)
    assert server.registry.pointer().generation == first  # type: ignore[union-attr]


def test_what_is_pinned_says_so_until_it_is_let_go(server: Server) -> None:
    first, refused = server.register(temperature=1.0), server.register(temperature=2.0, gates=(REFUSED,))
    with server.client() as client:
        with pytest.raises(WrongState, match="none can be pinned"):
            client.pin(refused)
        server.promote(first)
        for _ in range(2):
            assert client.pin(refused).pinned
        assert [generation.pinned for generation in client.list_generations()] == [True, False]
        with pytest.raises(GateRefused):
            client.promote(refused)
        for _ in range(2):
            assert not client.unpin(refused).pinned
        assert not client.get_generation(refused).pinned


def test_a_refused_generation_needs_force(server: Server) -> None:
    refused = server.register(temperature=1.0, gates=(REFUSED,))
    with server.client() as client:
        with pytest.raises(GateRefused, match=f"{refused} was refused by nll_floor"):
            client.promote(refused)
        found = client.get_generation(refused)
        assert found.state == training_pb2.GENERATION_STATE_REFUSED
        assert (found.gates[0].gate, found.gates[0].reference) == ("nll_floor", 3.0)
        assert client.promote(refused, force=True).generation.name == f"generations/{refused}"


@pytest.mark.parametrize(
    ("call", "field"),
    [
        (lambda client: client.start_run(members=0), "members"),
        (lambda client: client.start_run(members=33), "members"),
        (lambda client: client.start_run(steps=0), "steps"),
        (lambda client: client.promote("g000001-00000000", replica_timeout=timedelta(hours=1)), "timeout"),
        (lambda client: list(client.list_runs(page_size=501)), "page_size"),
        (lambda client: list(client.list_generations(page_size=-1)), "page_size"),
    ],
)
def test_values_out_of_bounds_are_named(server: Server, call: Any, field: str) -> None:
    with server.client() as client, pytest.raises(InvalidArgument) as caught:
        call(client)
    assert caught.value.violations[0].field == field


def test_unknown_runs_and_generations_are_not_found(server: Server) -> None:
    with server.client() as client:
        for call in (
            lambda: client.get_run("run-000099"),
            lambda: list(client.watch_run("run-000099")),
            lambda: client.get_generation("g000099-00000000"),
            lambda: client.promote("g000099-00000000"),
            lambda: client.pin("g000099-00000000"),
            lambda: client.unpin("g000099-00000000"),
        ):
            with pytest.raises(NotFound):
                call()


def test_a_run_that_goes_on_is_watched_until_it_ends(server: Server) -> None:
    run = server.store.runs.create(trigger=RunTrigger.DRIFT, now=now())
    with server.client() as client:
        watching = iter(client.watch_run(run.id))
        assert next(watching).trigger == training_pb2.RUN_TRIGGER_DRIFT
        server.store.runs.update(run.id, now=now(), stage_progress=0.5)
        assert next(watching).stage_progress == 0.5


def test_a_run_is_followed_with_what_it_tells_and_cancelled_by_name(server: Server) -> None:
    run = server.store.runs.create(trigger=RunTrigger.CALL, holder="another trainer", now=now())
    server.store.run_log.add(run.id, "started", now=now())
    with server.client() as client:
        following = client.follow_run(run.id)
        first = next(following)
        assert ([line.text for line in first.lines], first.run.state) == (["started"], training_pb2.RUN_STATE_RUNNING)
        server.store.run_log.add(run.id, "snapshot: 24 crops", now=now())
        assert [line.text for line in next(following).lines] == ["snapshot: 24 crops"]

        cancelled = client.cancel_run(run.id)
        assert cancelled.state == training_pb2.RUN_STATE_CANCELLED
        assert cancelled.error == "cancelled by admin in stage snapshot"
        (last,) = following
        assert last.run == cancelled
        assert next(line.text for line in last.lines).startswith("cancelled after ")
        assert client.cancel_run(f"runs/{run.id}") == cancelled
        with pytest.raises(NotFound):
            client.cancel_run("run-000099")
        over = server.store.runs.create(trigger=RunTrigger.CALL, now=now())
        server.store.runs.finish(over.id, RunState.REFUSED, now=now())
        with pytest.raises(WrongState, match="run-000002 is refused"):
            client.cancel_run(over.id)


def test_only_trainers_train(server: Server) -> None:
    trainer = issue_token(server.settings.tokens, "tina", [Role.TRAINER], time=now(), lifetime=None)
    labeller = issue_token(server.settings.tokens, "lena", [Role.LABELLER], time=now(), lifetime=None)
    with server.client(trainer.token) as client:
        assert list(client.list_runs()) == []
    with server.client(labeller.token) as client, pytest.raises(PermissionDenied):
        client.start_run()


def test_a_pointer_that_cannot_be_read_is_replaced_by_a_promotion(server: Server) -> None:
    first, second = server.register(temperature=1.0), server.register(temperature=2.0)
    server.promote(first)
    (server.settings.registry_directory / "CURRENT").write_text("{")
    with server.client() as client:
        with pytest.raises(CorruptArtefact, match="CURRENT is torn"):
            client.rollback()
        assert len(list(client.list_generations())) == 2
        assert client.promote(second).generation.state == training_pb2.GENERATION_STATE_CURRENT
        assert client.get_generation().name == f"generations/{second}"
