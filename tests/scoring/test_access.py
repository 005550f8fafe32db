"""Who may score: tokens, roles, expiry, rotation. Through a real channel."""

from collections.abc import Iterator
from datetime import timedelta
from threading import Event
from typing import Any

import grpc
import pytest
from support.raw_scoring import Raw, reason, request_of

from quandary import ScoringClient, Unauthenticated
from quandary_server.auth import Role, issue_token, revoke_token, rotate_token
from quandary_server.clock import now


@pytest.mark.parametrize("token", ["", "wrong", "Bearer", " "])
def test_no_valid_token_no_answer(service: Any, make_frame: Any, token: str) -> None:
    error = Raw(service, token=token).refused(request_of(make_frame))
    assert error.status_code == grpc.StatusCode.UNAUTHENTICATED.value[0]
    assert service.token not in error.message


def test_roles_expiry_and_rotation_need_no_restart(service: Any, make_frame: Any) -> None:
    day, tokens = timedelta(days=1), service.tokens
    labeller = issue_token(tokens, "lena", [Role.LABELLER], time=now(), lifetime=None)
    fleet = issue_token(tokens, "fleet-7", [Role.FLEET], time=now(), lifetime=day)
    late = issue_token(tokens, "eva", [Role.FLEET], time=now() - 2 * day, lifetime=day)

    request = request_of(make_frame)
    assert Raw(service, fleet.token).score(request).results[0].HasField("score")
    error = Raw(service, labeller.token).refused(request)
    assert reason(error) == "WRONG_ROLE"
    assert "lena has the roles labeller; this call needs fleet" in error.message
    error = Raw(service, late.token).refused(request)
    assert (reason(error), error.message) == ("NO_TOKEN", f"the bearer token {late.record.id} of eva has expired")

    after = rotate_token(tokens, fleet.record.id, time=now(), overlap=day / 2)
    for valid in (fleet, after):
        assert Raw(service, valid.token).score(request).results[0].HasField("score")
    revoke_token(tokens, fleet.record.id, time=now())
    assert reason(Raw(service, fleet.token).refused(request)) == "NO_TOKEN"
    assert Raw(service, after.token).score(request).results[0].HasField("score")


def test_a_revoked_token_ends_the_stream_that_it_opened(service: Any, make_frame: Any) -> None:
    fleet = issue_token(service.tokens, "fleet-7", [Role.FLEET], time=now(), lifetime=None)
    answers: list[str] = []

    def frames() -> Iterator[Any]:
        yield make_frame("before")
        while not answers:
            Event().wait(0.01)
        revoke_token(service.tokens, fleet.record.id, time=now())
        yield make_frame("after")

    def read(client: ScoringClient) -> None:
        answers.extend(answer.result.frame_id for answer in client.stream_scores(frames()))

    with service.client(fleet.token) as client, pytest.raises(Unauthenticated, match="not valid"):
        read(client)
    assert answers == ["before"]
