"""The scoring stub without the client's checks, and what its refusals say."""

import re
from typing import Any

import grpc
import pytest

from quandary.convert import frame_message
from quandary.error_messages import ERROR_TRAILER
from quandary.v1 import error_pb2, scoring_pb2, scoring_pb2_grpc


class Raw:
    """The stub without the client's checks."""

    def __init__(self, service: Any, token: str | None = None) -> None:
        self._channel = grpc.insecure_channel(service.target)
        self._stub = scoring_pb2_grpc.ScoringServiceStub(self._channel)
        bearer = service.token if token is None else token
        self._metadata = (("authorization", f"Bearer {bearer}"),) if bearer else ()

    def score(self, request: scoring_pb2.ScoreFramesRequest) -> scoring_pb2.ScoreFramesResponse:
        return self._stub.ScoreFrames(request, metadata=self._metadata, timeout=30)

    def stream(self, *requests: scoring_pb2.StreamScoresRequest) -> list[scoring_pb2.StreamScoresResponse]:
        return list(self._stub.StreamScores(iter(requests), metadata=self._metadata, timeout=30))

    def refused(self, request: scoring_pb2.ScoreFramesRequest) -> error_pb2.Error:
        with pytest.raises(grpc.RpcError) as caught:
            self.score(request)
        return trailer(caught.value)


def trailer(failure: Any) -> error_pb2.Error:
    metadata = dict(failure.trailing_metadata())
    error = error_pb2.Error.FromString(metadata[ERROR_TRAILER])
    assert failure.code().value[0] == error.status_code
    assert "grpc-status-details-bin" in metadata
    check_leak_free(failure.details())
    return error


def check_leak_free(text: str) -> None:
    assert not re.search(r"Traceback|File \"|site-packages|/root|/home|/work|actor|\.py\b|0x[0-9a-f]{6}", text), text


def reason(error: error_pb2.Error) -> str:
    return error_pb2.ErrorReason.Name(error.reason).removeprefix("ERROR_REASON_")


def request_of(make_frame: Any, **options: Any) -> scoring_pb2.ScoreFramesRequest:
    frames = [frame_message(make_frame("a"))]
    return scoring_pb2.ScoreFramesRequest(frames=frames, options=scoring_pb2.ScoringOptions(**options))


def opening(**options: Any) -> scoring_pb2.StreamScoresRequest:
    return scoring_pb2.StreamScoresRequest(options=scoring_pb2.ScoringOptions(**options))
