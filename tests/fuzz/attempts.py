"""One attempt: a mutated call of one method through a real channel, and whether what came of it may be."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import isfinite
from typing import Any

import grpc
import numpy as np
from fuzz.mutations import mutated, streams
from google.protobuf.message import Message
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from quandary.error_messages import ERROR_TRAILER, STATUS_NUMBERS
from quandary.v1 import error_pb2, geometry_pb2, scoring_pb2

PATIENCE_S = 30.0
LEAKS = re.compile(r"Traceback|File \"|site-packages|/root/|/home/|DecodeError|Unexpected <|\.py\b|0x[0-9a-f]{6}")

ENTITLED = {"INVALID_ARGUMENT", "RESOURCE_EXHAUSTED", "NOT_FOUND", "FAILED_PRECONDITION", "ABORTED", "ALREADY_EXISTS"}
ENTITLED |= {"UNIMPLEMENTED", "DEADLINE_EXCEEDED"}
"""What a wrong request may be told. All come with our own error, which says that it was a servicer that spoke."""

IN_BAND = {"INVALID_ARGUMENT", "RESOURCE_EXHAUSTED"}
NAMES = {number: name for name, number in STATUS_NUMBERS.items()}


@dataclass(frozen=True)
class Method:
    """A method, and valid requests: one, or those of one stream. bare: its refusals come without an error of ours."""

    path: str
    requests: Sequence[Message] = field(repr=False)
    response: type[Message]
    client_streams: bool = False
    server_streams: bool = False
    endless: bool = False
    bare: bool = False

    def mutations(self) -> st.SearchStrategy[list[bytes]]:
        """Return what to send in place of the requests."""
        if self.client_streams:
            return streams(self.requests)
        return st.sampled_from(self.requests).flatmap(mutated).map(lambda data: [data])


@dataclass(frozen=True)
class Attempt:
    """A method, and the bytes that are sent to it."""

    method: Method
    sent: list[bytes] = field(repr=False)

    def __repr__(self) -> str:
        return f"{self.method.path} {[data.hex() if len(data) < 2000 else f'{len(data)} bytes' for data in self.sent]}"


def attempts(methods: Sequence[Method]) -> st.SearchStrategy[Attempt]:
    """Return attempts at all of the methods."""
    return st.sampled_from(methods).flatmap(lambda method: method.mutations().map(lambda sent: Attempt(method, sent)))


class Attacker:
    """Makes attempts, checks and counts what comes of them; channels: by the full name of the service."""

    def __init__(self, channels: Mapping[str, grpc.Channel], token: str) -> None:
        self._channels, self._metadata = channels, (("authorization", f"Bearer {token}"),)
        self.outcomes: Counter[str] = Counter()
        self.frames: Counter[str] = Counter()

    def check(self, attempt: Attempt) -> None:
        """Make an attempt; raises AssertionError where something came of it that may not be."""
        try:
            answers = self._answers(attempt)
        except grpc.RpcError as failure:
            self._check_refusal(failure, attempt.method)
            return
        self.outcomes["OK"] += 1
        for data in answers:
            answer = attempt.method.response.FromString(data)
            check_finite(answer)
            if isinstance(answer, scoring_pb2.ScoreFramesResponse):
                for result in answer.results:
                    self._check_result(result)
            elif isinstance(answer, scoring_pb2.StreamScoresResponse):
                self._check_result(answer.result)

    def _answers(self, attempt: Attempt) -> list[bytes]:
        method = attempt.method
        channel = self._channels[method.path.split("/")[1]]
        options: dict[str, Any] = {"metadata": self._metadata, "timeout": PATIENCE_S}
        call: Any
        if method.client_streams:
            call = channel.stream_stream(method.path)
            return list(call(iter(attempt.sent), **options))
        if not method.server_streams:
            call = channel.unary_unary(method.path)
            return [call(attempt.sent[0], **options)]
        call = channel.unary_stream(method.path)
        answers = call(attempt.sent[0], **options)
        if not method.endless:
            return list(answers)
        try:
            return [next(answers)]
        finally:
            answers.cancel()

    def _check_refusal(self, failure: Any, method: Method) -> None:
        code, details = failure.code().name, failure.details()
        assert code in ENTITLED, f"{code}: {details}"
        assert not LEAKS.search(details), details
        if not method.bare:
            error = error_pb2.Error.FromString(dict(failure.trailing_metadata())[ERROR_TRAILER])
            assert NAMES[error.status_code] == code
        self.outcomes[code] += 1

    def _check_result(self, result: scoring_pb2.FrameResult) -> None:
        if result.HasField("score"):
            self.frames["score"] += 1
            return
        code, reason = NAMES[result.error.status_code], error_pb2.ErrorReason.Name(result.error.reason)
        # an absurd frame that breaks no rule: its boxes come out infinite, and it is told so
        assert code in IN_BAND or reason == "ERROR_REASON_NON_FINITE_OUTPUT", f"{code}: {result.error.message}"
        assert not LEAKS.search(result.error.message), result.error.message
        self.frames[reason.removeprefix("ERROR_REASON_")] += 1


def attack(attacker: Attacker, methods: Sequence[Method], count: int) -> None:
    """Make so many attempts, the same ones every time; raises AssertionError with the smallest that hypothesis finds."""

    @settings(
        max_examples=count,
        derandomize=True,
        database=None,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )
    @given(attempts(methods))
    def attempted(attempt: Attempt) -> None:
        attacker.check(attempt)

    attempted()


def check_finite(message: Message) -> None:
    """Raise AssertionError for a NaN or an infinity anywhere in a message."""
    if isinstance(message, geometry_pb2.Tensor):
        assert np.isfinite(np.frombuffer(message.data, "<f4")).all()
    for found, value in message.ListFields():
        for item in value.values() if hasattr(value, "values") else value if found.is_repeated else [value]:
            if isinstance(item, Message):
                check_finite(item)
            elif isinstance(item, float):
                assert isfinite(item), f"{found.full_name} is {item}"
