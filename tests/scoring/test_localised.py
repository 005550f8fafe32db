"""Jittered proposals, tightness and stability, through a real channel."""

from typing import Any

import numpy as np
import pytest

from quandary import Acquisition, Estimator, Frame, ImageBox, Proposal, ScoringOptions, result_score
from quandary.v1 import scoring_pb2

STABLE = ScoringOptions(Estimator.MC_DROPOUT, Acquisition.STABILITY, mc_samples=4, jittered_proposals=3)
BORDER = (ImageBox(-60.0, 100.0, 60.0, 250.0), ImageBox(1100.0, -20.0, 1260.0, 200.0))


def bordering(frame: Frame, name: str) -> Frame:
    """The frame with two more proposals, which stick out of the image."""
    proposals = [*frame.proposals, *map(Proposal, BORDER)]
    return Frame(name, frame.calibration, proposals, points=frame.points)


def test_tightness_and_stability_are_told_where_jitter_is_asked_for(service: Any, make_frame: Any) -> None:
    with service.client() as client:
        jittered, plain, tight = (
            result_score(client.score_frames([make_frame("a")], options).results[0])
            for options in (STABLE, ScoringOptions(), ScoringOptions(acquisition=Acquisition.TIGHTNESS))
        )
    for found in jittered.objects:
        assert 0 <= found.stability <= 1
        assert -1 <= found.tightness <= 1
        assert found.score == pytest.approx((1 - found.class_probabilities[-1]) * (1 - found.stability), abs=1e-6)
        assert found.HasField("score_standard_error")
    assert jittered.acquisition == scoring_pb2.ACQUISITION_STABILITY
    assert not any(found.HasField("tightness") or found.HasField("stability") for found in plain.objects)
    for found in tight.objects:
        assert found.score == pytest.approx(1 - abs(found.tightness))
        assert not found.HasField("stability")


@pytest.mark.parametrize("options", [STABLE, ScoringOptions(Estimator.ESCALATE, jittered_proposals=2)])
def test_a_jittered_frame_scores_the_same_as_cloud_and_crops_and_in_any_company(
    service: Any, make_frame: Any, options: ScoringOptions
) -> None:
    frames = [bordering(make_frame(name, seed, proposals=1), name) for seed, name in enumerate("ab")]
    with service.client() as client:
        whole, cropped = (client.score_frames(frames, options, crop=crop).results for crop in (False, True))
        alone = [client.score_frames([frame], options).results[0] for frame in reversed(frames)]
        streamed = [answer.result for answer in client.stream_scores(frames, options)]
    answers = [result.SerializeToString(deterministic=True) for result in whole]
    assert all(result.HasField("score") for result in whole)
    for others in (cropped, alone[::-1], streamed):
        assert [result.SerializeToString(deterministic=True) for result in others] == answers


def test_an_object_scores_the_same_beside_others_of_its_frame(service: Any, make_frame: Any) -> None:
    frame = bordering(make_frame("a", proposals=2), "a")
    lone = Frame("b", frame.calibration, frame.proposals[2:3], points=frame.points)
    with service.client() as client:
        many, one = (result_score(client.score_frames([f], STABLE).results[0]) for f in (frame, lone))
    beside, (alone,) = many.objects[2], one.objects
    assert (beside.proposal_index, alone.proposal_index) == (2, 0)
    beside.proposal_index = 0
    assert beside.SerializeToString(deterministic=True) == alone.SerializeToString(deterministic=True)


def test_another_seed_jitters_apart(service: Any, make_frame: Any) -> None:
    def stabilities(seed: int | None) -> list[float]:
        options = ScoringOptions(Estimator.SOFTMAX, seed=seed, jittered_proposals=2)
        with service.client() as client:
            score = result_score(client.score_frames([make_frame("a")], options).results[0])
        return [found.stability for found in score.objects]

    assert stabilities(1) == stabilities(1)
    assert stabilities(1) != stabilities(2)
    assert stabilities(None) == stabilities(service.keeper.generation().manifest.seed)


def test_a_crop_without_points_is_jittered_too_and_no_proposals_are_none(
    service: Any, make_frame: Any, calibration: Any
) -> None:
    empty = Frame("a", calibration, [Proposal(BORDER[0])], points=np.empty((0, 4), np.float32))
    none = Frame("b", calibration, [], points=np.empty((0, 4), np.float32))
    with service.client() as client:
        found, nothing = (result_score(result) for result in client.score_frames([empty, none], STABLE).results)
    assert 0 <= found.objects[0].stability <= 1
    assert (nothing.score, len(nothing.objects)) == (0.0, 0)
