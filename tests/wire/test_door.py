"""The door through a real channel: what callers see of refusals, ours and unforeseen."""

import asyncio
import logging
import re
from collections.abc import AsyncGenerator, AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2

from quandary.error_messages import ERROR_TRAILER
from quandary.errors import InvalidArgument, Overloaded, Violation
from quandary.retries import service_config
from quandary.v1 import error_pb2, scoring_pb2, scoring_pb2_grpc
from quandary_server.auth import Caller, Keyring, Role, ensure_tokens
from quandary_server.clock import now
from quandary_server.grpc_server import start_server
from quandary_server.wire.door import Door, streaming, unary

SECRET = "postgres://admin:hunter2@/srv/quandary"


class Servicer(scoring_pb2_grpc.ScoringServiceServicer):
    """Does what the frame id says."""

    def __init__(self, door: Door) -> None:
        self.door = door
        self.callers: list[str] = []

    @unary(Role.FLEET, scoring_pb2.ScoreFramesResponse)
    async def ScoreFrames(  # noqa: N802
        self, request: scoring_pb2.ScoreFramesRequest, caller: Caller
    ) -> scoring_pb2.ScoreFramesResponse:
        self.callers.append(caller.subject)
        await act(request.frames[0].frame_id)
        return scoring_pb2.ScoreFramesResponse(generation="done")

    @streaming(Role.FLEET)
    async def StreamScores(  # noqa: N802
        self, request: AsyncIterator[scoring_pb2.StreamScoresRequest], caller: Caller
    ) -> AsyncGenerator[scoring_pb2.StreamScoresResponse, None]:
        async for message in request:
            await act(message.frame.frame_id)
            yield scoring_pb2.StreamScoresResponse(sequence=message.sequence)

    @unary(Role.FLEET, scoring_pb2.GetServingStatusResponse)
    async def GetServingStatus(  # noqa: N802
        self, request: scoring_pb2.GetServingStatusRequest, caller: Caller
    ) -> scoring_pb2.GetServingStatusResponse:
        return scoring_pb2.GetServingStatusResponse()


async def act(what: str) -> None:
    if what == "break":
        raise RuntimeError(SECRET)
    if what == "overload":
        raise Overloaded("come back later", retry_after=timedelta(milliseconds=250))
    if what == "many":
        raise InvalidArgument.all(Violation(f"frames[{i}].cloud", "ü" * 120, "y" * 500) for i in range(200))


class Outcome:
    """What came of calls."""

    def __init__(self) -> None:
        self.observed: list[tuple[str, str]] = []
        self.failure: Any = None
        self.answers: list[Any] = []


def call(tmp_path: Path, frame_ids: list[str], *, stream: bool = False) -> Outcome:
    outcome = Outcome()

    async def go() -> None:
        token = ensure_tokens(tmp_path / "tokens.json")
        door = Door(Keyring(tmp_path / "tokens.json", now), lambda m, c, _: outcome.observed.append((m, c)))
        servicer = Servicer(door)

        def register(server: grpc.aio.Server) -> None:
            scoring_pb2_grpc.add_ScoringServiceServicer_to_server(servicer, server)

        server, port = await start_server("127.0.0.1", 0, {}, [register])
        metadata = (("authorization", f"Bearer {token}"),)
        options = [("grpc.service_config", service_config())]
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", options) as channel:
            stub = scoring_pb2_grpc.ScoringServiceStub(channel)
            frames = [scoring_pb2.FrameInput(frame_id=frame_id) for frame_id in frame_ids]
            try:
                if stream:
                    messages = [scoring_pb2.StreamScoresRequest(frame=f, sequence=i) for i, f in enumerate(frames)]
                    async for answer in stub.StreamScores(iter(messages), metadata=metadata, timeout=10):
                        outcome.answers.append(answer.sequence)
                else:
                    request = scoring_pb2.ScoreFramesRequest(frames=frames)
                    outcome.answers.append(await stub.ScoreFrames(request, metadata=metadata, timeout=10))
            except grpc.aio.AioRpcError as error:
                outcome.failure = error
        await server.stop(0)

    asyncio.run(go())
    return outcome


def trailers(failure: Any) -> dict[str, Any]:
    return dict(failure.trailing_metadata())


def test_a_good_call_is_answered_and_counted(tmp_path: Path) -> None:
    outcome = call(tmp_path, ["fine"])
    assert outcome.answers[0].generation == "done"
    assert outcome.observed == [("ScoreFrames", "OK")]


@pytest.mark.parametrize("stream", [False, True])
def test_an_unforeseen_failure_names_an_incident_and_nothing_else(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, stream: bool
) -> None:
    with caplog.at_level(logging.ERROR):
        outcome = call(tmp_path, ["break"], stream=stream)
    assert outcome.failure.code() == grpc.StatusCode.INTERNAL
    incident = re.fullmatch(r"internal error; the server's log has it as incident ([0-9a-f]{8})", outcome.failure.details())
    assert incident
    assert SECRET not in str(trailers(outcome.failure))
    (record,) = [r for r in caplog.records if "call_failed" in r.getMessage()]
    assert incident[1] in record.getMessage()
    assert record.exc_info is not None
    assert str(record.exc_info[1]) == SECRET
    assert outcome.observed[0][1] == "INTERNAL"


def test_what_is_refused_for_good_is_not_tried_again_by_grpcs_own_policy(tmp_path: Path) -> None:
    """The policy retries INTERNAL, for Ray's proxy says so where a replica dies."""
    outcome = call(tmp_path, ["break"])
    assert outcome.observed == [("ScoreFrames", "INTERNAL")]
    assert trailers(outcome.failure)["grpc-retry-pushback-ms"] == "-1"
    assert trailers(call(tmp_path, ["overload"]).failure)["grpc-retry-pushback-ms"] == "250"


def test_stock_clients_get_googles_details_and_ours_their_own(tmp_path: Path) -> None:
    outcome = call(tmp_path, ["overload"])
    found = trailers(outcome.failure)
    status = status_pb2.Status.FromString(found["grpc-status-details-bin"])
    retry = error_details_pb2.RetryInfo()
    assert status.details[0].Unpack(retry)
    assert retry.retry_delay.ToTimedelta() == timedelta(milliseconds=250)
    own = error_pb2.Error.FromString(found[ERROR_TRAILER])
    assert own.retry_after.ToTimedelta() == timedelta(milliseconds=250)
    assert own.status_code == status.code == grpc.StatusCode.RESOURCE_EXHAUSTED.value[0]


def test_many_violations_are_cut_to_what_trailers_may_hold(tmp_path: Path) -> None:
    outcome = call(tmp_path, ["many"])
    assert outcome.failure.code() == grpc.StatusCode.INVALID_ARGUMENT
    own = error_pb2.Error.FromString(trailers(outcome.failure)[ERROR_TRAILER])
    assert own.violations[0].field == "frames[0].cloud"
    assert 1 <= len(own.violations) < 200
    assert own.message.startswith(f"200 fields are wrong, {200 - len(own.violations)} more than told here: frames[0].cloud")


def test_a_stream_keeps_what_it_answered_before_it_failed(tmp_path: Path) -> None:
    outcome = call(tmp_path, ["fine", "fine", "overload", "fine"], stream=True)
    assert outcome.answers == [0, 1]
    assert outcome.failure.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert outcome.observed == [("StreamScores", "RESOURCE_EXHAUSTED")]
