"""Too much work, impatient callers and streams beside calls, through a real channel, with the compute thread held."""

import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
from support.gates import Gate
from support.open_inference import infer_request, tensors
from support.scoring import LIMITS, WINDOW, ScoringService
from support.waiting import wait_for

from quandary import Estimator, ScoringOptions
from quandary.convert import frame_message
from quandary.error_messages import ERROR_TRAILER
from quandary.v1 import error_pb2, scoring_pb2, scoring_pb2_grpc
from quandary_server.frustum.raster import Rasters
from quandary_server.registry.directory import Artefacts
from quandary_server.scoring.admission import QueueLimit
from quandary_server.scoring.cost import Load
from quandary_server.wire.inference_v2 import open_inference_pb2_grpc

CROPS = 3
"""Of the frame that callers send."""


class Caller:
    """The stub, without the client's retries."""

    def __init__(self, service: ScoringService, make_frame: Callable[..., Any]) -> None:
        self._channel = grpc.insecure_channel(service.target)
        self._stub = scoring_pb2_grpc.ScoringServiceStub(self._channel)
        self._metadata = (("authorization", f"Bearer {service.token}"),)
        self._frame = frame_message(make_frame("a"))

    def close(self) -> None:
        self._channel.close()

    def call(
        self, timeout: timedelta | None = None, *, returning: bool = False, frames: int = 1, grpc_timeout_s: float = 30
    ) -> Any:
        """Start a call; return its future."""
        request = scoring_pb2.ScoreFramesRequest(frames=[self._frame] * frames, returning=returning)
        if timeout is not None:
            request.timeout.FromTimedelta(timeout)
        return self._stub.ScoreFrames.future(request, metadata=self._metadata, timeout=grpc_timeout_s)

    def infer(self, rasters: Rasters, **parameters: Any) -> Any:
        """Start a call of the Open Inference Protocol; return its future."""
        request = infer_request(tensors(rasters), **parameters)
        stub = open_inference_pb2_grpc.GRPCInferenceServiceStub(self._channel)
        return stub.ModelInfer.future(request, metadata=self._metadata, timeout=30)

    def stream(self, frames: int = 1_000_000, timeout: timedelta | None = None) -> Any:
        """Start a stream that sends as many frames as it gets rid of; return the call."""
        opening = scoring_pb2.StreamScoresRequest(options=scoring_pb2.ScoringOptions())
        if timeout is not None:
            opening.timeout.FromTimedelta(timeout)

        def requests() -> Iterator[scoring_pb2.StreamScoresRequest]:
            yield opening
            for sequence in range(frames):
                yield scoring_pb2.StreamScoresRequest(frame=self._frame, sequence=sequence)

        return self._stub.StreamScores(requests(), metadata=self._metadata, timeout=60)

    def idle_stream(self, over: threading.Event) -> Any:
        """Start a stream that sends its options and no frame until it is over."""

        def requests() -> Iterator[scoring_pb2.StreamScoresRequest]:
            yield scoring_pb2.StreamScoresRequest(options=scoring_pb2.ScoringOptions())
            over.wait(60)

        return self._stub.StreamScores(requests(), metadata=self._metadata, timeout=60)


def error_of(call: Any) -> error_pb2.Error:
    """Return the error that a call ended with."""
    with pytest.raises(grpc.RpcError) as caught:
        call.result()
    failure: Any = caught.value
    return error_pb2.Error.FromString(dict(failure.trailing_metadata())[ERROR_TRAILER])


@pytest.fixture
def strict(tmp_path: Path, generation: Artefacts) -> Iterator[ScoringService]:
    """A service in which calls may wait for one of their kind, beside a stream; each is thought to take minutes."""
    service = ScoringService(tmp_path, generation, QueueLimit(service_times=2.0, least_s=0.0))
    softmax = Load(Estimator.SOFTMAX, frames=1, crops=1, points=0, passes=1, samples=1)
    service.engine.schedule.costs.learn(softmax, 60.0)
    service.start()
    service.promote(service.register())
    yield service
    service.stop()


@pytest.fixture
def roomy(tmp_path: Path, generation: Artefacts) -> Iterator[ScoringService]:
    """A service that takes more crops in a call than it computes at once."""
    service = ScoringService(tmp_path, generation, limits=replace(LIMITS, max_frames=40, max_crops=200))
    service.start()
    service.promote(service.register())
    yield service
    service.stop()


@pytest.fixture
def caller(service: ScoringService, make_frame: Any) -> Iterator[Caller]:
    made = Caller(service, make_frame)
    yield made
    made.close()


def test_calls_beyond_the_queue_are_refused_at_once_and_told_when_to_come(strict: ScoringService, make_frame: Any) -> None:
    caller, told = Caller(strict, make_frame), strict.told
    with strict.held():
        waiting = [caller.call()]
        wait_for(lambda: told.arrivals["call", "admitted"] == 1)
        waiting.append(caller.call())
        wait_for(lambda: told.arrivals["call", "admitted"] == 2)
        refused = [error_of(caller.call()) for _ in range(5)]
        assert not any(call.done() for call in waiting)
    assert {error.status_code for error in refused} == {grpc.StatusCode.RESOURCE_EXHAUSTED.value[0]}
    times = [error.retry_after.ToTimedelta() for error in refused]
    assert times == sorted(times)
    assert times[0] > timedelta()
    assert [len(call.result().results) for call in waiting] == [1, 1]
    assert (told.arrivals["call", "refused"], told.frames) == (5, 2)
    caller.close()


def test_who_was_turned_away_goes_before_newcomers(strict: ScoringService, make_frame: Any) -> None:
    caller, told = Caller(strict, make_frame), strict.told
    with strict.held():
        calls = [caller.call()]
        wait_for(lambda: told.arrivals["call", "admitted"] == 1)
        calls.append(caller.call())
        wait_for(lambda: told.arrivals["call", "admitted"] == 2)
        error_of(caller.call())
        calls[1].cancel()
        wait_for(lambda: told.drops["call", "cancelled"] == 1)
        error_of(caller.call())
        calls[1] = caller.call(returning=True)
        wait_for(lambda: told.arrivals["call", "admitted"] == 3)
    assert [len(call.result().results) for call in calls] == [1, 1]
    caller.close()


def test_a_call_that_is_cancelled_or_late_is_not_computed(service: ScoringService, caller: Caller) -> None:
    told = service.told
    with service.held():
        late = caller.call(timedelta(milliseconds=10))
        assert error_of(late).status_code == grpc.StatusCode.DEADLINE_EXCEEDED.value[0]
        cancelled = caller.call()
        wait_for(lambda: told.arrivals["call", "admitted"] == 2)
        cancelled.cancel()
        wait_for(lambda: told.drops["call", "cancelled"] == 1)
        # this one tells the server nothing of its time
        impatient = caller.call(grpc_timeout_s=0.2)
        assert impatient.exception().code() is grpc.StatusCode.DEADLINE_EXCEEDED
        wait_for(lambda: told.drops["call", "cancelled"] == 2)
    assert len(caller.call().result().results) == 1
    assert (told.frames, told.drops["call", "deadline"]) == (1, 1)
    assert service.drawn.crops == [CROPS]


def test_an_inference_that_is_cancelled_or_late_is_not_computed(
    service: ScoringService, caller: Caller, rasters: Callable[[int], Rasters]
) -> None:
    told = service.told
    with service.held():
        late = caller.infer(rasters(2), timeout=10_000)
        assert error_of(late).status_code == grpc.StatusCode.DEADLINE_EXCEEDED.value[0]
        cancelled = caller.infer(rasters(2))
        wait_for(lambda: told.arrivals["call", "admitted"] == 2)
        cancelled.cancel()
        wait_for(lambda: told.drops["call", "cancelled"] == 1)
    assert caller.infer(rasters(4)).result().outputs
    assert service.drawn.crops == [4]


@pytest.mark.parametrize("cause", ["deadline", "cancelled"])
def test_the_rest_of_a_call_given_up_while_its_first_part_is_computed_is_not(
    roomy: ScoringService, make_frame: Any, cause: str
) -> None:
    caller, told, gate = Caller(roomy, make_frame), roomy.told, Gate()
    roomy.drawn.gate = gate
    call = caller.call(timedelta(milliseconds=500) if cause == "deadline" else None, frames=40)
    gate.wait_until_begun()
    if cause == "cancelled":
        call.cancel()
    wait_for(lambda: told.drops["call", cause] == 1)
    gate.open()
    assert len(caller.call().result().results) == 1
    # 64 crops at once, or as many whole frames as have no more
    assert roomy.drawn.crops == [63, CROPS]
    caller.close()


def test_a_stream_is_read_no_further_than_its_window_while_it_waits(service: ScoringService, caller: Caller) -> None:
    told = service.told
    with service.held():
        answers = caller.stream(frames=50)
        wait_for(lambda: told.arrivals["stream", "admitted"] == 1 + WINDOW)
        # whatever the server could read is read by the time that it answers a call
        assert error_of(caller.call(timedelta(milliseconds=10))).status_code == grpc.StatusCode.DEADLINE_EXCEEDED.value[0]
        assert told.arrivals["stream", "admitted"] == 1 + WINDOW
    assert [answer.sequence for answer in answers] == list(range(50))


def test_who_closes_a_stream_has_nothing_computed_any_more(service: ScoringService, caller: Caller) -> None:
    told = service.told
    with service.held():
        answers = caller.stream()
        wait_for(lambda: told.arrivals["stream", "admitted"] == 1 + WINDOW)
        answers.cancel()
        wait_for(lambda: told.drops["stream", "cancelled"] == WINDOW)
    assert len(caller.call().result().results) == 1
    assert service.drawn.crops == [CROPS]
    assert told.unfinished_s["stream"] == pytest.approx(0.0, abs=1e-9)


def test_a_stream_past_its_timeout_ends_and_nothing_of_it_is_computed(service: ScoringService, caller: Caller) -> None:
    told = service.told
    with service.held():
        answers = caller.stream(timeout=timedelta(milliseconds=200))
        with pytest.raises(grpc.RpcError) as caught:
            next(answers)
        failure: Any = caught.value
        assert failure.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        wait_for(lambda: told.drops["stream", "deadline"] + told.drops["stream", "cancelled"] == WINDOW)
    assert len(caller.call().result().results) == 1
    assert service.drawn.crops == [CROPS]


def test_busy_streams_leave_calls_their_turns(service: ScoringService, caller: Caller) -> None:
    told = service.told
    with service.held():
        streams = [caller.stream(frames=10) for _ in range(5)]
        wait_for(lambda: told.arrivals["stream", "admitted"] == 1 + 5 * WINDOW)
        call = caller.call()
        wait_for(lambda: told.arrivals["call", "admitted"] == 1)
        before = len(told.waits)
    assert len(call.result().results) == 1
    assert [len(list(stream)) for stream in streams] == [10] * 5
    kinds = [kind for kind, _ in told.waits]
    # what a thread holds already, and one turn of a stream
    assert kinds.index("call") <= before + 2


def test_idle_streams_cost_calls_nothing(service: ScoringService, caller: Caller) -> None:
    over = threading.Event()
    streams = [caller.idle_stream(over) for _ in range(50)]
    try:
        assert len(caller.call().result().results) == 1
        assert service.told.unfinished_s.get("stream", 0.0) == 0.0
    finally:
        over.set()
    assert [list(stream) for stream in streams] == [[]] * 50


def test_a_large_request_is_answered_in_order_though_it_is_computed_in_parts(roomy: ScoringService, make_frame: Any) -> None:
    frames = [make_frame(f"f{i}", seed=i, proposals=5) for i in range(16)]
    options = ScoringOptions(mc_samples=20)
    with roomy.client() as client:
        together = client.score_frames(frames, options).results
        assert roomy.drawn.crops == [60, 20]
        alone = [client.score_frames([frame], options).results[0] for frame in frames]
    assert [r.SerializeToString() for r in together] == [r.SerializeToString() for r in alone]
