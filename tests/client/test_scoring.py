from collections.abc import Callable
from datetime import timedelta
from typing import Any

import grpc
import numpy as np
import pytest

from quandary import (
    Acquisition,
    Estimator,
    Frame,
    InvalidArgument,
    NoGeneration,
    NonFiniteOutput,
    QuandaryError,
    ScoringClient,
    ScoringOptions,
    convert,
    result_score,
)
from quandary.error_messages import error_message
from quandary.option_messages import scoring_options
from quandary.v1 import scoring_pb2

Serve = Callable[[dict[str, Callable[..., Any]]], str]
Connect = Callable[..., ScoringClient]


class Scoring:
    """Scores every frame by its number of proposals, except those whose id says that they break."""

    def __init__(self) -> None:
        self.requests: list[scoring_pb2.ScoreFramesRequest] = []

    def __call__(self, request: scoring_pb2.ScoreFramesRequest, context: Any) -> scoring_pb2.ScoreFramesResponse:
        self.requests.append(request)
        return scoring_pb2.ScoreFramesResponse(generation="gen-1", results=[self.result(frame) for frame in request.frames])

    def result(self, frame: scoring_pb2.FrameInput) -> scoring_pb2.FrameResult:
        if frame.frame_id.startswith("broken"):
            error = error_message(NonFiniteOutput(f"frame {frame.frame_id}: NaN"))
            return scoring_pb2.FrameResult(frame_id=frame.frame_id, generation="gen-1", error=error)
        score = scoring_pb2.FrameScore(score=len(frame.proposals))
        return scoring_pb2.FrameResult(frame_id=frame.frame_id, generation="gen-1", score=score)


@pytest.fixture
def scoring() -> Scoring:
    return Scoring()


@pytest.fixture
def client(serve: Serve, connect: Connect, scoring: Scoring) -> ScoringClient:
    return connect(ScoringClient, serve({"ScoringService/ScoreFrames": scoring}))


def test_frames_are_scored_in_their_order(client: ScoringClient, frame: Frame) -> None:
    empty = Frame("frame-2", frame.calibration, [], points=frame.points)
    answer = client.score_frames([frame, empty])
    assert answer.generation == "gen-1"
    assert [(result.frame_id, result_score(result).score) for result in answer.results] == [("frame-1", 2), ("frame-2", 0)]


def test_a_refused_frame_costs_its_neighbours_nothing(client: ScoringClient, frame: Frame) -> None:
    broken = Frame("broken", frame.calibration, frame.proposals, points=frame.points)
    first, second = client.score_frames([broken, frame]).results
    with pytest.raises(NonFiniteOutput, match="frame broken: NaN"):
        result_score(first)
    assert result_score(second).score == 2


def test_crops_are_sent_unless_whole_clouds_are_asked_for(client: ScoringClient, scoring: Scoring, frame: Frame) -> None:
    client.score_frames([frame])
    client.score_frames([frame], crop=False)
    cropped, whole = (request.frames[0] for request in scoring.requests)
    assert frame.points is not None
    crops = frame.cropped().crops
    assert crops is not None
    assert convert.tensor_values(whole.cloud).tobytes() == frame.points.tobytes()
    assert convert.tensor_values(cropped.crops.points).tobytes() == np.concatenate(crops).tobytes()
    assert list(cropped.crops.point_counts) == [len(crop) for crop in crops]


def test_options_and_timeout_are_in_the_request(client: ScoringClient, scoring: Scoring, frame: Frame) -> None:
    options = ScoringOptions(Estimator.DEEP_ENSEMBLE, Acquisition.MARGIN, seed=2**64 - 1, generation="gen-0")
    client.score_frames([frame], options, timeout=timedelta(seconds=7))
    client.score_frames([frame])
    asked, default = scoring.requests
    assert scoring_options(asked.options) == options
    assert asked.timeout.ToTimedelta() == timedelta(seconds=7)
    assert scoring_options(default.options) == ScoringOptions()
    assert default.timeout.ToTimedelta() == timedelta(seconds=30)


def test_a_request_refused_as_a_whole_names_its_field(
    serve: Serve, connect: Connect, refuse: Callable[[grpc.ServicerContext, QuandaryError], Any], frame: Frame
) -> None:
    error = InvalidArgument.of("frames", "300 frames", "at most 256")
    target = serve({"ScoringService/ScoreFrames": lambda _, context: refuse(context, error)})
    with pytest.raises(InvalidArgument) as caught:
        connect(ScoringClient, target).score_frames([frame])
    assert caught.value.violations == error.violations


def test_serving_status_answers_before_there_is_a_generation(
    serve: Serve, connect: Connect, refuse: Callable[[grpc.ServicerContext, QuandaryError], Any], frame: Frame
) -> None:
    def status(request: Any, context: Any) -> scoring_pb2.GetServingStatusResponse:
        return scoring_pb2.GetServingStatusResponse(replica="r-1", ready=False)

    def score(request: Any, context: grpc.ServicerContext) -> None:
        refuse(context, NoGeneration("nothing has been promoted yet"))

    client = connect(ScoringClient, serve({"ScoringService/GetServingStatus": status, "ScoringService/ScoreFrames": score}))
    assert not client.serving_status().ready
    with pytest.raises(NoGeneration):
        client.score_frames([frame])
