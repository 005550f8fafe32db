"""Bytes that are no message, through a real channel to each kind of method."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Callable
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_reflection.v1alpha import reflection_pb2

from quandary.error_messages import ERROR_TRAILER
from quandary.v1 import error_pb2, scoring_pb2, scoring_pb2_grpc
from quandary_server.auth import Caller, Keyring, Role, ensure_tokens
from quandary_server.clock import now
from quandary_server.grpc_server import MAX_MESSAGE_BYTES, start_server
from quandary_server.wire.door import Door, streaming, unary

TORN = b"\x0a\xff"
"""A field that is longer than what follows."""


class Servicer(scoring_pb2_grpc.ScoringServiceServicer):
    """Answers whatever can be parsed."""

    def __init__(self, door: Door) -> None:
        self.door = door

    @unary(Role.FLEET, scoring_pb2.ScoreFramesResponse)
    async def ScoreFrames(  # noqa: N802
        self, request: scoring_pb2.ScoreFramesRequest, caller: Caller
    ) -> scoring_pb2.ScoreFramesResponse:
        return scoring_pb2.ScoreFramesResponse(generation="done")

    @streaming(Role.FLEET)
    async def StreamScores(  # noqa: N802
        self, request: AsyncIterator[scoring_pb2.StreamScoresRequest], caller: Caller
    ) -> AsyncGenerator[scoring_pb2.StreamScoresResponse, None]:
        async for message in request:
            yield scoring_pb2.StreamScoresResponse(sequence=message.sequence)

    @unary(Role.FLEET, scoring_pb2.GetServingStatusResponse)
    async def GetServingStatus(  # noqa: N802
        self, request: scoring_pb2.GetServingStatusRequest, caller: Caller
    ) -> scoring_pb2.GetServingStatusResponse:
        return scoring_pb2.GetServingStatusResponse()


class Raw:
    """A channel that sends bytes as they are."""

    def __init__(self, channel: grpc.aio.Channel, token: str) -> None:
        self._channel, self.token = channel, token

    @property
    def _metadata(self) -> tuple[tuple[str, str], ...]:
        return (("authorization", f"Bearer {self.token}"),)

    async def unary(self, method: str, data: bytes, compression: grpc.Compression | None = None) -> bytes:
        call = self._channel.unary_unary(method, request_serializer=_same, response_deserializer=_same)
        answer: bytes = await call(data, metadata=self._metadata, timeout=30, compression=compression)
        return answer

    def stream(self, method: str, *data: bytes) -> AsyncIterable[bytes]:
        call = self._channel.stream_stream(method, request_serializer=_same, response_deserializer=_same)
        return call(iter(data), metadata=self._metadata, timeout=30)


def _same(data: bytes) -> bytes:
    return data


def with_raw(tmp_path: Path, what: Callable[[Raw], Any]) -> Any:
    """Return what `what` makes of a channel to a server of the servicer."""

    async def go() -> Any:
        token = ensure_tokens(tmp_path / "tokens.json")
        servicer = Servicer(Door(Keyring(tmp_path / "tokens.json", now), lambda *_: None))

        def register(server: grpc.aio.Server) -> None:
            scoring_pb2_grpc.add_ScoringServiceServicer_to_server(servicer, server)

        server, port = await start_server("127.0.0.1", 0, {}, [register])
        try:
            any_size = [("grpc.max_send_message_length", -1)]
            async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", any_size) as channel:
                return await what(Raw(channel, token))
        finally:
            await server.stop(0)

    return asyncio.run(go())


def check(failure: grpc.aio.AioRpcError, said: str) -> None:
    assert failure.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert failure.details() == said
    trailers: dict[str, Any] = dict(failure.trailing_metadata() or ())
    error = error_pb2.Error.FromString(trailers[ERROR_TRAILER])
    assert [violation.field for violation in error.violations] == ["request"]


@pytest.mark.parametrize("data", [TORN, b"\xff" * 9, b"\x0b" * 200, b"\x0a\x02\x0a\xff"])
@pytest.mark.parametrize("method", ["quandary.v1.ScoringService/ScoreFrames", "grpc.health.v1.Health/Check"])
def test_a_unary_request_that_is_none_is_an_invalid_argument(tmp_path: Path, method: str, data: bytes) -> None:
    async def what(raw: Raw) -> None:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await raw.unary(f"/{method}", data)
        check(caught.value, f"request is {len(data)} bytes that cannot be parsed, must be the message of {method}")

    with_raw(tmp_path, what)


def test_one_that_is_none_ends_a_stream_after_the_answers_before_it(tmp_path: Path) -> None:
    method = "quandary.v1.ScoringService/StreamScores"

    async def what(raw: Raw) -> list[int]:
        good = scoring_pb2.StreamScoresRequest(sequence=7).SerializeToString()
        answers: list[int] = []

        async def read() -> None:
            async for answer in raw.stream(f"/{method}", good, TORN, good):
                answers.append(scoring_pb2.StreamScoresResponse.FromString(answer).sequence)

        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await read()
        check(caught.value, f"request is 2 bytes that cannot be parsed, must be the message of {method}")
        return answers

    assert with_raw(tmp_path, what) == [7]


def test_so_it_is_where_only_the_server_streams(tmp_path: Path) -> None:
    method = "grpc.health.v1.Health/Watch"

    async def what(raw: Raw) -> None:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await anext(aiter(raw.stream(f"/{method}", TORN)))
        check(caught.value, f"request is 2 bytes that cannot be parsed, must be the message of {method}")

    with_raw(tmp_path, what)


def test_reflection_answers_it_in_band(tmp_path: Path) -> None:
    async def what(raw: Raw) -> list[int]:
        good = reflection_pb2.ServerReflectionRequest(list_services="*").SerializeToString()
        answers = raw.stream("/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", TORN, good)
        found = [reflection_pb2.ServerReflectionResponse.FromString(answer) async for answer in answers]
        assert found[1].HasField("list_services_response")
        return [answer.error_response.error_code for answer in found]

    assert with_raw(tmp_path, what) == [grpc.StatusCode.INVALID_ARGUMENT.value[0], 0]


def test_without_a_token_not_even_that_is_told(tmp_path: Path) -> None:
    async def what(raw: Raw) -> None:
        raw.token = "nobody"
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await raw.unary("/quandary.v1.ScoringService/ScoreFrames", TORN)
        assert caught.value.code() == grpc.StatusCode.UNAUTHENTICATED

    with_raw(tmp_path, what)


@pytest.mark.parametrize("way", ["plain", "compressed", "streamed"])
def test_a_message_over_the_limit_is_refused_however_it_comes(tmp_path: Path, way: str) -> None:
    large = bytes(MAX_MESSAGE_BYTES + 1)

    async def what(raw: Raw) -> None:
        unary, stream = "/quandary.v1.ScoringService/ScoreFrames", "/quandary.v1.ScoringService/StreamScores"
        compression = grpc.Compression.Gzip if way == "compressed" else None
        call = anext(aiter(raw.stream(stream, large))) if way == "streamed" else raw.unary(unary, large, compression)
        with pytest.raises(grpc.aio.AioRpcError, match="larger than max") as caught:
            await call
        assert caught.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
        assert await raw.unary(unary, b"")

    with_raw(tmp_path, what)
