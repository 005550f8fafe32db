"""What is refused as a whole, by which status and field. Through a real channel, with raw messages."""

import math
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
from support.raw_scoring import Raw, opening, reason, request_of, trailer
from support.scoring import ScoringService

from quandary import ScoringOptions
from quandary.convert import frame_message
from quandary.v1 import scoring_pb2
from quandary_server.registry.directory import Artefacts


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
