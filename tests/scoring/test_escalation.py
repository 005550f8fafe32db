"""The cascade, through a real channel."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from support.open_inference import OpenInference, output_values, tensors

from quandary import Estimator, Reduction, ScoringOptions, result_score
from quandary.v1 import scoring_pb2
from quandary_server.frustum.raster import Rasters
from quandary_server.registry.manifest import CascadeRecord

OPTIONS = ScoringOptions(Estimator.ESCALATE, mc_samples=8, escalate_share=0.5)
FULL = replace(OPTIONS, estimator=Estimator.ENSEMBLE_MC_DROPOUT)


def scored(service: Any, frames: list[Any], options: ScoringOptions) -> list[scoring_pb2.FrameScore]:
    with service.client() as client:
        return [result_score(result) for result in client.score_frames(frames, options).results]


def test_objects_near_the_top_get_the_full_answer_and_the_frame_says_how_many(
    calibrated: Any, make_frame: Any, record: CascadeRecord
) -> None:
    frames = [make_frame(name, seed, proposals=6) for seed, name in enumerate("abcde")]
    mixed, full = scored(calibrated, frames, OPTIONS), scored(calibrated, frames, FULL)
    few = scored(calibrated, frames, replace(FULL, mc_samples=record.masks))
    shares = []
    for frame, whole, first in zip(mixed, full, few, strict=True):
        assert (frame.estimator, frame.samples) == (scoring_pb2.ESTIMATOR_ESCALATE, 24)
        near = [found.samples == 24 for found in frame.objects]
        for found, escalated, a, b in zip(frame.objects, near, whole.objects, first.objects, strict=True):
            expected = a if escalated else b
            assert found.score_standard_error == pytest.approx(expected.score_standard_error)
            found.score_standard_error = expected.score_standard_error
            assert found.SerializeToString(deterministic=True) == expected.SerializeToString(deterministic=True)
        assert frame.escalated_share == pytest.approx(np.mean(near))
        assert frame.score == pytest.approx(np.mean([found.score for found in frame.objects]))
        shares.append(frame.escalated_share)
    assert 0 < np.mean(shares) < 1


def test_the_frames_standard_error_lies_between_those_of_few_and_of_all_masks(
    calibrated: Any, make_frame: Any, record: CascadeRecord
) -> None:
    frames = [make_frame(f"f{seed}", seed, proposals=6) for seed in range(5)]
    options = replace(OPTIONS, reduction=Reduction.SUM)
    few = replace(options, estimator=Estimator.ENSEMBLE_MC_DROPOUT, mc_samples=record.masks)
    full = replace(options, estimator=Estimator.ENSEMBLE_MC_DROPOUT)
    mixed, least, most = (
        np.mean([frame.score_standard_error for frame in scored(calibrated, frames, o)]) for o in (options, full, few)
    )
    assert 0 < least < mixed < most


def test_who_is_near_does_not_depend_on_company(calibrated: Any, make_frame: Any) -> None:
    frames = [make_frame(f"f{seed}", seed, proposals=1 + seed) for seed in range(5)]
    together = scored(calibrated, frames, OPTIONS)
    alone = [scored(calibrated, [frame], OPTIONS)[0] for frame in frames]
    answers = [frame.SerializeToString(deterministic=True) for frame in together]
    assert [frame.SerializeToString(deterministic=True) for frame in alone] == answers


def test_a_generation_without_thresholds_escalates_all(service: Any, make_frame: Any) -> None:
    (mixed,), (full,) = (scored(service, [make_frame("a")], options) for options in (OPTIONS, FULL))
    assert mixed.escalated_share == 1.0
    mixed.ClearField("escalated_share")
    mixed.estimator = full.estimator
    assert mixed.SerializeToString(deterministic=True) == full.SerializeToString(deterministic=True)


def test_what_escalated_is_counted_and_crops_by_their_estimator(
    calibrated: Any, make_frame: Any, rasters: Callable[[int], Rasters]
) -> None:
    frames, told = [make_frame(f"f{seed}", seed, proposals=6) for seed in range(5)], calibrated.told
    mixed = scored(calibrated, frames, OPTIONS)
    escalated = sum(found.samples == 24 for frame in mixed for found in frame.objects)
    assert (told.escalated, dict(told.crops)) == (escalated, {Estimator.ESCALATE: 30})
    scored(calibrated, frames[:2], FULL)
    stub = OpenInference(calibrated.target, calibrated.token)
    answer = stub.infer(tensors(rasters(9)), "escalate", outputs=["escalated"], mc_samples=8, escalate_share=0.5)
    assert told.escalated == escalated + output_values(answer)["escalated"].sum()
    assert dict(told.crops) == {Estimator.ESCALATE: 39, Estimator.ENSEMBLE_MC_DROPOUT: 12}


def test_no_objects_no_share(calibrated: Any, make_frame: Any) -> None:
    (score,) = scored(calibrated, [make_frame("a", proposals=0)], OPTIONS)
    assert not score.HasField("escalated_share")
