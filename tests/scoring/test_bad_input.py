"""What is refused, by which status, and that nothing of ours leaks. Through a real channel, with raw messages."""

import math
import re
import struct
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from threading import Event
from typing import Any

import grpc
import numpy as np
import pytest
from support.scoring import ScoringService

from quandary import ScoringClient, ScoringOptions, Unauthenticated
from quandary.convert import frame_message, tensor_message
from quandary.error_messages import ERROR_TRAILER
from quandary.v1 import error_pb2, geometry_pb2, scoring_pb2, scoring_pb2_grpc
from quandary_server.auth import Role, issue_token, revoke_token, rotate_token
from quandary_server.clock import now
from quandary_server.registry.directory import Artefacts

Mutate = Callable[[scoring_pb2.FrameInput], None]

NAN = struct.pack("<f", float("nan"))


def cut(message: scoring_pb2.FrameInput) -> None:
    message.cloud.data = message.cloud.data[:-3]


def poison(message: scoring_pb2.FrameInput) -> None:
    message.cloud.data = NAN + message.cloud.data[4:]


def flatten(message: scoring_pb2.FrameInput) -> None:
    message.cloud.shape[:] = [2000 * 4]


def swap_dtype(message: scoring_pb2.FrameInput) -> None:
    message.cloud.data_type = geometry_pb2.DATA_TYPE_UNSPECIFIED


def unbound_intensity(message: scoring_pb2.FrameInput) -> None:
    message.cloud.data = message.cloud.data[:12] + struct.pack("<f", 255.0) + message.cloud.data[16:]


def crowd(message: scoring_pb2.FrameInput) -> None:
    message.cloud.shape[:] = [6000, 4]
    message.cloud.data = bytes(6000 * 16)


def leave_image(message: scoring_pb2.FrameInput) -> None:
    message.proposals[1].box.left_px, message.proposals[1].box.right_px = 5000.0, 5100.0


def invert_box(message: scoring_pb2.FrameInput) -> None:
    message.proposals[2].box.right_px = message.proposals[2].box.left_px - 1


def lose_box(message: scoring_pb2.FrameInput) -> None:
    message.proposals[0].ClearField("box")


def overconfide(message: scoring_pb2.FrameInput) -> None:
    message.proposals[0].confidence = 1.5


def blind(message: scoring_pb2.FrameInput) -> None:
    message.calibration.projection[:] = [0.0] * 12


def shear(message: scoring_pb2.FrameInput) -> None:
    message.calibration.lidar_to_camera[0] = 3.0


def shorten(message: scoring_pb2.FrameInput) -> None:
    del message.calibration.projection[-1]


def shrink(message: scoring_pb2.FrameInput) -> None:
    message.calibration.image_width_px = 0


def unname(message: scoring_pb2.FrameInput) -> None:
    message.frame_id = "../etc/passwd"


def uncalibrate(message: scoring_pb2.FrameInput) -> None:
    message.ClearField("calibration")


def empty(message: scoring_pb2.FrameInput) -> None:
    message.ClearField("cloud")


def miscount(message: scoring_pb2.FrameInput) -> None:
    message.crops.points.CopyFrom(message.cloud)
    message.crops.point_counts.extend([1, 1, 1])


def uncount(message: scoring_pb2.FrameInput) -> None:
    message.crops.points.CopyFrom(message.cloud)
    message.crops.point_counts.extend([2000])


def negate(message: scoring_pb2.FrameInput) -> None:
    message.crops.points.CopyFrom(message.cloud)
    message.crops.point_counts.extend([2001, -1, 0])


def overpropose(message: scoring_pb2.FrameInput) -> None:
    for _ in range(4):
        message.proposals.add().CopyFrom(message.proposals[0])


BAD_FRAMES: list[tuple[Mutate, str, str]] = [
    (cut, "cloud.data", "INVALID_FIELD"),
    (poison, "cloud", "INVALID_FIELD"),
    (flatten, "cloud.shape", "INVALID_FIELD"),
    (swap_dtype, "cloud.data_type", "INVALID_FIELD"),
    (unbound_intensity, "cloud", "INVALID_FIELD"),
    (crowd, "cloud.shape", "TOO_LARGE"),
    (leave_image, "proposals[1].box", "INVALID_FIELD"),
    (invert_box, "proposals[2].box.left_px", "INVALID_FIELD"),
    (lose_box, "proposals[0].box", "INVALID_FIELD"),
    (overconfide, "proposals[0].confidence", "INVALID_FIELD"),
    (blind, "calibration.projection", "INVALID_FIELD"),
    (shear, "calibration.lidar_to_camera", "INVALID_FIELD"),
    (shorten, "calibration.projection", "INVALID_FIELD"),
    (shrink, "calibration.image_width_px", "INVALID_FIELD"),
    (unname, "frame_id", "INVALID_FIELD"),
    (uncalibrate, "calibration", "INVALID_FIELD"),
    (empty, "lidar", "INVALID_FIELD"),
    (miscount, "crops.point_counts", "INVALID_FIELD"),
    (uncount, "crops.point_counts", "INVALID_FIELD"),
    (negate, "crops.point_counts", "INVALID_FIELD"),
    (overpropose, "proposals", "TOO_LARGE"),
]


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


@pytest.mark.parametrize(("mutate", "field", "expected"), BAD_FRAMES, ids=[m.__name__ for m, _, _ in BAD_FRAMES])
def test_a_bad_frame_is_answered_in_band_and_costs_its_neighbours_nothing(
    service: Any, make_frame: Any, mutate: Mutate, field: str, expected: str
) -> None:
    messages = [frame_message(make_frame(name, seed)) for seed, name in enumerate("abc")]
    mutate(messages[1])
    raw = Raw(service)
    response = raw.score(scoring_pb2.ScoreFramesRequest(frames=messages))
    good, bad, other = response.results
    assert good.HasField("score")
    assert other.HasField("score")
    assert bad.HasField("error")
    assert reason(bad.error) == expected
    (violation,) = bad.error.violations
    assert violation.field == f"frames[1].{field}"
    assert violation.value
    assert violation.bound
    assert violation.bound in bad.error.message
    check_leak_free(bad.error.message)
    alone = raw.score(scoring_pb2.ScoreFramesRequest(frames=[messages[0]])).results[0]
    assert alone.SerializeToString() == good.SerializeToString()


def request_of(make_frame: Any, **options: Any) -> scoring_pb2.ScoreFramesRequest:
    frames = [frame_message(make_frame("a"))]
    return scoring_pb2.ScoreFramesRequest(frames=frames, options=scoring_pb2.ScoringOptions(**options))


@pytest.mark.parametrize(
    ("options", "field", "expected"),
    [
        ({"estimator": 77}, "options.estimator", "INVALID_FIELD"),
        ({"acquisition": 77}, "options.acquisition", "INVALID_FIELD"),
        ({"reduction": 77}, "options.reduction", "INVALID_FIELD"),
        ({"mc_samples": 1}, "options.mc_samples", "INVALID_FIELD"),
        ({"mc_samples": 100_000}, "options.mc_samples", "INVALID_FIELD"),
        ({"top_k": 0}, "options.top_k", "INVALID_FIELD"),
        ({"generation": "no such/name"}, "options.generation", "INVALID_FIELD"),
        ({"jittered_proposals": -1}, "options.jittered_proposals", "INVALID_FIELD"),
        ({"jittered_proposals": 33}, "options.jittered_proposals", "INVALID_FIELD"),
        ({"acquisition": "ACQUISITION_STABILITY"}, "options.jittered_proposals", "MEANINGLESS_REQUEST"),
        ({"escalate_share": 0.0}, "options.escalate_share", "INVALID_FIELD"),
        ({"escalate_share": math.nan}, "options.escalate_share", "INVALID_FIELD"),
        (
            {"estimator": "ESTIMATOR_SOFTMAX", "acquisition": "ACQUISITION_MUTUAL_INFORMATION"},
            "options.acquisition",
            "MEANINGLESS_REQUEST",
        ),
        (
            {"estimator": "ESTIMATOR_SOFTMAX", "acquisition": "ACQUISITION_BOX_EPISTEMIC"},
            "options.acquisition",
            "MEANINGLESS_REQUEST",
        ),
    ],
)
def test_wrong_options_fail_the_call_and_are_named(
    service: Any, make_frame: Any, options: dict[str, Any], field: str, expected: str
) -> None:
    error = Raw(service).refused(request_of(make_frame, **options))
    assert error.status_code == grpc.StatusCode.INVALID_ARGUMENT.value[0]
    assert reason(error) == expected
    assert [violation.field for violation in error.violations] == [field]


def test_jittered_proposals_count_against_the_limit_of_crops(service: Any, make_frame: Any) -> None:
    # three proposals with ten jittered ones each, and at most 30 crops
    error = Raw(service).refused(request_of(make_frame, jittered_proposals=10))
    assert (reason(error), error.violations[0].field) == ("TOO_LARGE", "frames")
    assert error.violations[0].value.startswith("33 crops")
    with service.client() as client:
        answers = list(client.stream_scores([make_frame("a")], ScoringOptions(jittered_proposals=10)))
        assert len(list(client.stream_scores([make_frame("a")], ScoringOptions(jittered_proposals=9)))) == 1
    (violation,) = answers[0].result.error.violations
    assert violation.field == "frame.proposals"


def test_a_request_without_frames_or_with_too_many_is_refused(service: Any, make_frame: Any) -> None:
    raw = Raw(service)
    error = raw.refused(scoring_pb2.ScoreFramesRequest())
    assert (reason(error), error.violations[0].field) == ("INVALID_FIELD", "frames")
    crowd_of_frames = [frame_message(make_frame(f"f{i}", proposals=0)) for i in range(9)]
    error = raw.refused(scoring_pb2.ScoreFramesRequest(frames=crowd_of_frames))
    assert (reason(error), error.violations[0].bound) == ("TOO_LARGE", "at most 8 frames")
    crowd_of_crops = [frame_message(make_frame(f"f{i}", proposals=5)) for i in range(7)]
    error = raw.refused(scoring_pb2.ScoreFramesRequest(frames=crowd_of_crops))
    assert (reason(error), error.violations[0].bound) == ("TOO_LARGE", "at most 30 crops")


def test_a_timeout_that_is_none_or_over_is_refused(service: Any, make_frame: Any) -> None:
    request = request_of(make_frame)
    request.timeout.FromTimedelta(timedelta(seconds=-1))
    error = Raw(service).refused(request)
    assert (reason(error), error.violations[0].field) == ("INVALID_FIELD", "timeout")
    assert error.violations[0].value == "-1 s, 0 ns"
    request.timeout.FromMicroseconds(1)
    assert reason(Raw(service).refused(request)) == "DEADLINE_EXCEEDED"


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


def opening(**options: Any) -> scoring_pb2.StreamScoresRequest:
    return scoring_pb2.StreamScoresRequest(options=scoring_pb2.ScoringOptions(**options))


def test_a_bad_frame_of_a_stream_is_answered_in_band(service: Any, make_frame: Any) -> None:
    frames = [frame_message(make_frame(name)) for name in "abc"]
    poison(frames[1])
    requests = [scoring_pb2.StreamScoresRequest(frame=f, sequence=10 + i) for i, f in enumerate(frames)]
    answers = Raw(service).stream(opening(), *requests)
    assert [(a.sequence, a.result.HasField("score")) for a in answers] == [(10, True), (11, False), (12, True)]
    assert answers[1].result.error.violations[0].field == "frame.cloud"


@pytest.mark.parametrize(
    ("requests", "field"),
    [
        ([], "message"),
        (["frame"], "message"),
        (["options", "options"], "message"),
        (["options", "nothing"], "message"),
    ],
)
def test_a_stream_that_breaks_its_order_is_ended_with_the_reason(
    service: Any, make_frame: Any, requests: list[str], field: str
) -> None:
    kinds = {
        "options": opening(),
        "frame": scoring_pb2.StreamScoresRequest(frame=frame_message(make_frame("a"))),
        "nothing": scoring_pb2.StreamScoresRequest(sequence=1),
    }
    with pytest.raises(grpc.RpcError) as caught:
        Raw(service).stream(*(kinds[kind] for kind in requests))
    error = trailer(caught.value)
    assert (reason(error), error.violations[0].field) == ("INVALID_FIELD", field)


def far_away(message: scoring_pb2.FrameInput) -> scoring_pb2.FrameInput:
    """Put all points of every crop to the edge of what a point may be: a box beside them is beyond it."""
    left = [proposal.box.left_px + proposal.box.right_px < message.calibration.image_width_px for proposal in message.proposals]
    points = np.array([[1000.0, 1000.0 if is_left else -1000.0, 0.0, 0.5] for is_left in left], np.float32)
    message.crops.points.CopyFrom(tensor_message(points))
    message.crops.point_counts.extend([1] * len(message.proposals))
    return message


def test_a_box_beyond_the_bounds_is_that_frames_error_alone(service: Any, make_frame: Any) -> None:
    good, far = frame_message(make_frame("good")), far_away(frame_message(make_frame("far")))
    raw = Raw(service)
    response = raw.score(scoring_pb2.ScoreFramesRequest(frames=[far, good]))
    assert reason(response.results[0].error) == "NON_FINITE_OUTPUT"
    assert "frame far" in response.results[0].error.message
    assert response.results[1].HasField("score")

    opening = scoring_pb2.StreamScoresRequest(options=scoring_pb2.ScoringOptions())
    frames = [scoring_pb2.StreamScoresRequest(frame=frame, sequence=i) for i, frame in enumerate([good, far, good])]
    answers = [answer.result.WhichOneof("outcome") for answer in raw.stream(opening, *frames)]
    assert answers == ["score", "error", "score"]


def test_the_largest_box_is_scored(service: Any, make_frame: Any) -> None:
    message = frame_message(make_frame("f"))
    box = message.proposals[0].box
    box.left_px, box.top_px, box.right_px, box.bottom_px = -1e6, -1e6, 1e6, 1e6
    response = Raw(service).score(scoring_pb2.ScoreFramesRequest(frames=[message]))
    assert response.results[0].HasField("score")


def test_a_negative_count_of_points_is_told(service: Any, make_frame: Any) -> None:
    message = frame_message(make_frame("f"))
    negate(message)
    response = Raw(service).score(scoring_pb2.ScoreFramesRequest(frames=[message]))
    (violation,) = response.results[0].error.violations
    assert (violation.value, violation.bound) == ("-1 at 1", "counts >= 0")


def test_a_stream_answers_an_overfull_frame_in_band(service: Any, make_frame: Any) -> None:
    good, crowded = frame_message(make_frame("good")), frame_message(make_frame("crowded", proposals=31))
    opening = scoring_pb2.StreamScoresRequest(options=scoring_pb2.ScoringOptions())
    frames = [scoring_pb2.StreamScoresRequest(frame=frame, sequence=i) for i, frame in enumerate([crowded, good])]
    refused, answered = Raw(service).stream(opening, *frames)
    assert (reason(refused.result.error), refused.result.error.violations[0].field) == ("TOO_LARGE", "frame.proposals")
    assert answered.result.HasField("score")


def test_one_sample_is_too_few_for_what_needs_several(tmp_path: Path, generation: Artefacts, make_frame: Any) -> None:
    files = dict(list(generation.manifest.files.items())[:1])
    lone = Artefacts(generation.manifest.model_copy(update={"files": files}), generation.members[:1])
    service = ScoringService(tmp_path, lone)
    service.start()
    try:
        service.promote(service.register())
        options = scoring_pb2.ScoringOptions(estimator=scoring_pb2.ESTIMATOR_DEEP_ENSEMBLE)
        request = scoring_pb2.ScoreFramesRequest(frames=[frame_message(make_frame("a"))], options=options)
        error = Raw(service).refused(request)
        assert (reason(error), error.violations[0].field) == ("MEANINGLESS_REQUEST", "options.acquisition")
        with pytest.raises(grpc.RpcError) as caught:
            Raw(service).stream(scoring_pb2.StreamScoresRequest(options=options))
        assert reason(trailer(caught.value)) == "MEANINGLESS_REQUEST"
        request.options.acquisition = scoring_pb2.ACQUISITION_PREDICTIVE_ENTROPY
        assert Raw(service).score(request).results[0].HasField("score")
    finally:
        service.stop()
