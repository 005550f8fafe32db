import threading
import traceback
from collections.abc import Callable
from concurrent.futures import CancelledError, ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)
from support.certificates import Authority

from quandary import (
    Calibration,
    Cancelled,
    Frame,
    InvalidArgument,
    LabellingClient,
    QuandaryError,
    ScoringClient,
    TooLarge,
    TrainingClient,
    tls_credentials,
)
from quandary.connection import MAX_MESSAGE_BYTES
from quandary.scoring import AsyncScoringClient
from quandary.v1 import scoring_pb2

Serve = Callable[[dict[str, Callable[..., Any]]], str]
Connect = Callable[..., ScoringClient]
TOKEN = "a-token-that-nobody-may-see"


@pytest.mark.parametrize("target", ["", "http://127.0.0.1:9700", "https://quandary.example"])
def test_refused_targets(connect: Connect, target: str) -> None:
    with pytest.raises(InvalidArgument) as error:
        connect(ScoringClient, target)
    assert error.value.violations[0].field == "target"


@pytest.mark.parametrize("token", ["", "two words", "line\nbreak", "ümlaut", "x" * 4097])
def test_refused_tokens_are_not_repeated(connect: Connect, token: str) -> None:
    with pytest.raises(InvalidArgument) as error:
        connect(ScoringClient, "127.0.0.1:1", token=token)
    assert error.value.violations[0].field == "token"
    assert token == "" or token not in str(error.value)


def test_a_timeout_must_be_positive(connect: Connect) -> None:
    with pytest.raises(InvalidArgument, match="timeout"):
        connect(ScoringClient, "127.0.0.1:1", timeout=timedelta())
    with pytest.raises(InvalidArgument, match="timeout"):
        connect(ScoringClient, "127.0.0.1:1").serving_status(timeout=timedelta(seconds=-1))


@pytest.mark.parametrize("kind", [ScoringClient, LabellingClient, TrainingClient])
def test_a_client_shows_its_target_and_not_its_token(kind: type[ScoringClient]) -> None:
    with kind("127.0.0.1:9700", token=TOKEN) as client:
        assert repr(client) == f"{kind.__name__}('127.0.0.1:9700')"


def test_an_asynchronous_client_wants_a_running_loop() -> None:
    with pytest.raises(RuntimeError):
        AsyncScoringClient("127.0.0.1:9700", token=TOKEN)


def test_every_call_carries_the_token(serve: Serve, connect: Connect) -> None:
    carried: list[Any] = []

    def status(request: Any, context: grpc.ServicerContext) -> scoring_pb2.GetServingStatusResponse:
        carried.append(dict(context.invocation_metadata())["authorization"])
        return scoring_pb2.GetServingStatusResponse(replica="r")

    client = connect(ScoringClient, serve({"ScoringService/GetServingStatus": status}))
    assert client.serving_status().replica == "r"
    assert carried == [f"Bearer {TOKEN}"]


def test_a_token_that_changes_is_asked_for_at_every_call(serve: Serve, connect: Connect) -> None:
    carried: list[Any] = []
    tokens = iter(["first", "second", "not a token"])

    def status(request: Any, context: grpc.ServicerContext) -> scoring_pb2.GetServingStatusResponse:
        carried.append(dict(context.invocation_metadata())["authorization"])
        return scoring_pb2.GetServingStatusResponse()

    with ScoringClient(serve({"ScoringService/GetServingStatus": status}), token=lambda: next(tokens)) as client:
        client.serving_status()
        client.serving_status()
        with pytest.raises(InvalidArgument, match="token is"):
            client.serving_status()
    assert carried == ["Bearer first", "Bearer second"]


def test_every_call_has_a_deadline(serve: Serve, connect: Connect) -> None:
    left: list[float] = []

    def status(request: Any, context: grpc.ServicerContext) -> scoring_pb2.GetServingStatusResponse:
        left.append(context.time_remaining())
        return scoring_pb2.GetServingStatusResponse()

    target = serve({"ScoringService/GetServingStatus": status})
    connect(ScoringClient, target).serving_status()
    connect(ScoringClient, target, timeout=timedelta(seconds=300)).serving_status()
    connect(ScoringClient, target).serving_status(timeout=timedelta(seconds=900))
    assert [limit - 25 < seconds < limit + 1 for limit, seconds in zip([30, 300, 900], left, strict=True)] == [True] * 3


def test_clouds_of_many_megabytes_pass_both_ways(serve: Serve, connect: Connect, calibration: Calibration) -> None:
    def score(request: scoring_pb2.ScoreFramesRequest, context: Any) -> scoring_pb2.ScoreFramesResponse:
        return scoring_pb2.ScoreFramesResponse(generation="x" * len(request.frames[0].cloud.data))

    client = connect(ScoringClient, serve({"ScoringService/ScoreFrames": score}))
    frame = Frame("f", calibration, [], points=np.zeros((2**20, 4), np.float32))
    assert len(client.score_frames([frame], crop=False).generation) == 16 * 2**20


def test_a_message_over_the_limit_is_refused(serve: Serve, connect: Connect) -> None:
    def status(request: Any, context: Any) -> scoring_pb2.GetServingStatusResponse:
        return scoring_pb2.GetServingStatusResponse(replica="x" * (MAX_MESSAGE_BYTES + 1))

    client = connect(ScoringClient, serve({"ScoringService/GetServingStatus": status}))
    with pytest.raises(TooLarge, match="larger than max"):
        client.serving_status()


def test_closing_a_client_ends_its_calls(serve: Serve, connect: Connect) -> None:
    begun, hung_up = threading.Event(), threading.Event()

    def status(request: Any, context: grpc.ServicerContext) -> scoring_pb2.GetServingStatusResponse:
        context.add_callback(hung_up.set)
        begun.set()
        hung_up.wait()
        return scoring_pb2.GetServingStatusResponse()

    client = connect(ScoringClient, serve({"ScoringService/GetServingStatus": status}))
    with ThreadPoolExecutor(1) as pool:
        call = pool.submit(client.serving_status)
        assert begun.wait(60)
        client.close()
        error = call.exception(60)
    assert isinstance(error, Cancelled | CancelledError)
    assert hung_up.wait(60)


def test_tls_is_spoken_with_credentials(serve: Serve, connect: Connect) -> None:
    """A plain-text server is no TLS server, so a call over TLS does not reach it."""

    def status(request: Any, context: Any) -> scoring_pb2.GetServingStatusResponse:
        return scoring_pb2.GetServingStatusResponse()

    target = serve({"ScoringService/GetServingStatus": status})
    client = connect(ScoringClient, target, credentials=grpc.ssl_channel_credentials())
    with pytest.raises(QuandaryError) as error:
        client.serving_status(timeout=timedelta(milliseconds=300))
    assert error.value.status in ("UNAVAILABLE", "DEADLINE_EXCEEDED")
    assert TOKEN not in "".join(traceback.format_exception(error.value))


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("certificates"))


def test_tls_and_mutual_tls_are_asked_for_by_files(authority: Authority) -> None:
    certificate, key = authority.sign("fleet")
    assert isinstance(tls_credentials(authority.ca), grpc.ChannelCredentials)
    assert isinstance(tls_credentials(str(authority.ca), certificate, key), grpc.ChannelCredentials)


def test_files_that_give_no_tls_are_named(authority: Authority, tmp_path: Path) -> None:
    certificate, key = authority.sign("fleet")
    _, other = authority.sign("other")
    ca, missing, empty = authority.ca, tmp_path / "missing.pem", tmp_path / "empty.pem"
    empty.touch()
    cases: list[tuple[tuple[Path | None, ...], str]] = [
        ((missing,), "ca"),
        ((empty,), "ca"),
        ((key,), "ca"),
        ((ca, missing, key), "certificate"),
        ((ca, certificate, empty), "certificate"),
        ((ca, certificate, other), "certificate"),
        ((ca, certificate, None), "key"),
        ((ca, None, key), "certificate"),
    ]
    for files, field in cases:
        with pytest.raises(InvalidArgument) as error:
            tls_credentials(*files)  # type: ignore[arg-type]
        assert error.value.violations[0].field == field


def test_an_encrypted_key_is_refused_and_nobody_is_asked(authority: Authority, tmp_path: Path) -> None:
    certificate, key = authority.sign("fleet")
    secret = load_pem_private_key(key.read_bytes(), None)
    encrypted = tmp_path / "encrypted.key"
    encrypted.write_bytes(secret.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"open sesame")))
    with pytest.raises(InvalidArgument, match="certificate is"):
        tls_credentials(authority.ca, certificate, encrypted)
