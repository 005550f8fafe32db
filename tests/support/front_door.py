"""What gets in at a running `quandary up`: through Serve's ingress with HAProxy, and through Envoy before all services."""

import warnings
from pathlib import Path

import grpc
import pytest
from fuzz.attempts import Attacker, attack
from fuzz.seeds import health_methods, inference_methods, scoring_methods, small_frames

from quandary import (
    Frame,
    GenerationNotResident,
    LabellingClient,
    QuandaryError,
    ScoringClient,
    ScoringOptions,
    TrainingClient,
    Unauthenticated,
    result_score,
    tls_credentials,
)
from support.certificates import Authority
from support.envoy import Front, envoy_binary
from support.quandary import Quandary

MUTATED = 300
SCORING, INFERENCE = "quandary.v1.ScoringService", "inference.GRPCInferenceService"
HEALTH = "grpc.health.v1.Health"


def check_mutated_requests(quandary: Quandary, frame: Frame) -> None:
    """What tests/fuzz does to servicers, a few hundred times through the ingress; afterwards it answers as before."""
    with quandary.scoring() as client:
        expected = client.score_frames([frame]).SerializeToString(deterministic=True)
        with grpc.insecure_channel(quandary.settings.scoring_target) as channel:
            attacker = Attacker(dict.fromkeys((SCORING, INFERENCE, HEALTH), channel), quandary.token)
            frames = small_frames(frame.calibration)
            attack(attacker, [*scoring_methods(frames), *inference_methods(frames[0]), *health_methods(SCORING)], MUTATED)
        assert attacker.outcomes["OK"] > 0
        assert attacker.outcomes["INVALID_ARGUMENT"] > 0
        assert client.score_frames([frame]).SerializeToString(deterministic=True) == expected


def check_front(quandary: Quandary, frame: Frame, folder: Path) -> None:
    """Through Envoy with a client certificate the services answer as they do without it, errors with their fields."""
    if envoy_binary() is None:
        warnings.warn("no envoy here: it was not put in front", stacklevel=1)
        return
    settings, authority = quandary.settings, Authority(folder / "authority")
    upstreams = {
        "scoring": settings.scoring_target,
        "selector": f"127.0.0.1:{settings.selector.port}",
        "trainer": f"127.0.0.1:{settings.trainer.port}",
    }
    front = Front(folder / "envoy", upstreams, authority)
    credentials = tls_credentials(authority.ca, *authority.sign("fleet-7"))
    try:
        front.start()
        with ScoringClient(front.target, token=quandary.token, credentials=credentials) as client, quandary.scoring() as inside:
            expected = result_score(inside.score_frames([frame]).results[0])
            assert result_score(client.score_frames([frame]).results[0]) == expected
            assert [result_score(answer.result) for answer in client.stream_scores([frame] * 3)] == [expected] * 3
        with LabellingClient(front.target, token=quandary.token, credentials=credentials) as labelling:
            assert {queue.name for queue in labelling.list_queues()} == {"queues/active", "queues/control"}
        with TrainingClient(front.target, token=quandary.token, credentials=credentials) as training:
            assert training.get_generation().members == 2
        check_refused(front.target, credentials, quandary, frame)
    finally:
        front.stop()


def check_refused(target: str, credentials: grpc.ChannelCredentials, quandary: Quandary, frame: Frame) -> None:
    """Calls and streams are refused for what is wrong with them, which the trailing metadata tell."""
    pinned = ScoringOptions(generation="g999999-00000000")
    cases: list[tuple[str, type[QuandaryError]]] = [(quandary.token, GenerationNotResident), ("nobody", Unauthenticated)]
    for token, error in cases:
        with ScoringClient(target, token=token, credentials=credentials) as client:
            with pytest.raises(error):
                client.score_frames([frame], pinned)
            with pytest.raises(error):
                list(client.stream_scores([frame], pinned))
