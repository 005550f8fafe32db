"""The same request gives the same bytes when its connection breaks and it is made again, and after a restart."""

import logging
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from support.relay import Relay
from support.scoring import ScoringService
from support.waiting import wait_for

from quandary import Acquisition, Estimator, Frame, ScoringClient, ScoringOptions
from quandary.v1 import scoring_pb2
from quandary_server.registry.directory import Artefacts

ASKED = [
    *(ScoringOptions(estimator, seed=seed, mc_samples=8, escalate_share=0.5) for estimator in Estimator for seed in (None, 5)),
    ScoringOptions(acquisition=Acquisition.STABILITY, mc_samples=3, jittered_proposals=2, include_embedding=True),
]
CUTS = (3, 9)
"""Answers of a stream after which its connection is cut."""


@pytest.fixture(scope="module")
def frames(make_frame: Any) -> list[Frame]:
    return [make_frame(f"f{seed}", seed, proposals=3) for seed in range(3)]


@pytest.fixture
def relay(calibrated: ScoringService) -> Iterator[Relay]:
    relay = Relay(calibrated.target)
    yield relay
    relay.close()


def answers(client: ScoringClient, frames: list[Frame]) -> list[bytes]:
    return [told(client.score_frames(frames, options)) for options in ASKED]


def told(message: scoring_pb2.ScoreFramesResponse | scoring_pb2.FrameResult) -> bytes:
    return message.SerializeToString(deterministic=True)


def reaches(arrivals: Counter[tuple[str, str]], admitted: int) -> bool:
    return arrivals["call", "admitted"] == admitted


def test_a_call_whose_connection_breaks_is_made_again_by_the_client_and_has_the_same_bytes(
    calibrated: ScoringService, relay: Relay, frames: list[Frame]
) -> None:
    with calibrated.client() as undisturbed:
        expected = answers(undisturbed, frames)
    arrivals, found = calibrated.told.arrivals, []
    with ScoringClient(relay.target, token=calibrated.token) as client, ThreadPoolExecutor(1) as pool:
        for options in ASKED:
            before = arrivals["call", "admitted"]
            with calibrated.held():
                call = pool.submit(client.score_frames, frames, options)
                wait_for(partial(reaches, arrivals, before + 1))
                relay.cut()
                wait_for(partial(reaches, arrivals, before + 2))
            found.append(told(call.result()))
    assert found == expected
    assert calibrated.told.drops["call", "cancelled"] == len(ASKED)


@pytest.mark.parametrize("options", ASKED, ids=lambda options: f"{options.estimator}-{options.seed}")
def test_a_stream_whose_connection_breaks_goes_on_with_the_same_bytes(
    calibrated: ScoringService, relay: Relay, frames: list[Frame], options: ScoringOptions, caplog: pytest.LogCaptureFixture
) -> None:
    many, found = frames * 5, []
    with calibrated.client() as undisturbed:
        expected = [told(result) for frame in many for result in undisturbed.score_frames([frame], options).results]
    with caplog.at_level(logging.WARNING, "quandary"), ScoringClient(relay.target, token=calibrated.token) as client:
        for place, answer in enumerate(client.stream_scores(iter(many), options, window=4)):
            assert answer.sequence == place
            found.append(told(answer.result))
            if len(found) in CUTS:
                relay.cut()
    assert found == expected
    assert caplog.text.count("stream_broken") == len(CUTS)


def test_a_service_that_starts_anew_on_its_registry_gives_the_same_bytes(
    tmp_path: Path, generation: Artefacts, calibrated: ScoringService, frames: list[Frame]
) -> None:
    with calibrated.client() as client:
        expected = answers(client, frames)
    again = ScoringService(tmp_path, generation)
    again.start()
    try:
        again.wait_for(calibrated.keeper.generation().id)
        with again.client() as client:
            assert answers(client, frames) == expected
    finally:
        again.stop()
