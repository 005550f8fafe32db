"""What fleets get for good requests, through a real channel."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from quandary import Acquisition, Estimator, GenerationNotResident, NoGeneration, Reduction, ScoringOptions, result_score
from quandary.convert import box3d, tensor_values
from quandary.labels import CLASSES
from quandary.v1 import scoring_pb2

SAMPLES = {"softmax": 1, "mc_dropout": 20, "deep_ensemble": 3, "ensemble_mc_dropout": 60, "escalate": 60}


@pytest.mark.parametrize("estimator", list(Estimator))
def test_every_estimator_answers_every_object(service: Any, make_frame: Any, estimator: Estimator) -> None:
    with service.client() as client:
        response = client.score_frames([make_frame("a"), make_frame("b", seed=2, proposals=5)], ScoringOptions(estimator))
    first, second = (result_score(result) for result in response.results)
    assert [result.frame_id for result in response.results] == ["a", "b"]
    assert (len(first.objects), len(second.objects)) == (3, 5)
    assert {result.generation for result in response.results} == {response.generation}
    assert first.samples == SAMPLES[estimator]
    assert {found.samples for found in first.objects} == {SAMPLES[estimator]}
    assert first.HasField("escalated_share") == (estimator is Estimator.ESCALATE)
    assert second.HasField("score_standard_error") == (second.samples >= 3)
    for found in second.objects:
        assert sum(found.class_probabilities) == pytest.approx(1, abs=1e-5)
        assert found.predicted_class == CLASSES[int(np.argmax(found.class_probabilities))]
        assert box3d(found.box).length_m > 0
        assert len(found.box_uncertainty.aleatoric_variance) == 7
        uncertainty = found.class_uncertainty
        if estimator is Estimator.SOFTMAX:
            assert not uncertainty.HasField("mutual_information_nats")
            assert not found.box_uncertainty.epistemic_variance
            assert found.score == pytest.approx(uncertainty.predictive_entropy_nats)
        else:
            gap = uncertainty.predictive_entropy_nats - uncertainty.expected_entropy_nats
            assert uncertainty.mutual_information_nats == pytest.approx(gap, abs=1e-9)
            assert found.HasField("score_standard_error")
    assert second.score == pytest.approx(np.mean([found.score for found in second.objects]))


def test_crops_made_by_the_client_score_as_the_whole_cloud_does_to_the_bit(service: Any, make_frame: Any) -> None:
    with service.client() as client:
        cropped, whole = (client.score_frames([make_frame("a")], crop=crop) for crop in (True, False))
    assert cropped.SerializeToString(deterministic=True) == whole.SerializeToString(deterministic=True)


def test_one_objects_standard_error_is_its_frames(service: Any, make_frame: Any) -> None:
    with service.client() as client:
        score = result_score(client.score_frames([make_frame("a", proposals=1)]).results[0])
    assert score.score_standard_error == score.objects[0].score_standard_error
    assert score.score_standard_error > 0


def test_a_frame_scores_the_same_in_any_company(service: Any, make_frame: Any) -> None:
    frames = [make_frame(name, seed) for seed, name in enumerate("abcd")]
    with service.client() as client:
        together = client.score_frames(frames).results
        alone = [client.score_frames([frame]).results[0] for frame in frames]
    assert [r.SerializeToString() for r in together] == [r.SerializeToString() for r in alone]


def test_an_object_scores_the_same_alone_in_its_frame_and_beside_others_to_the_bit(service: Any, make_frame: Any) -> None:
    whole = make_frame("a", proposals=6)
    options = ScoringOptions(mc_samples=100, include_embedding=True)
    frames = [whole, *(replace(whole, proposals=[proposal]) for proposal in whole.proposals)]
    with service.client() as client:
        together, *alone = (result_score(result) for result in client.score_frames(frames, options).results)
    for index, score in enumerate(alone):
        assert score.score_standard_error == together.objects[index].score_standard_error
        score.objects[0].proposal_index = index
        assert score.objects[0].SerializeToString(deterministic=True) == together.objects[index].SerializeToString(
            deterministic=True
        )


def test_seeds_draw_apart_and_are_told(service: Any, make_frame: Any) -> None:
    with service.client() as client:
        scores = [
            result_score(client.score_frames([make_frame("a")], ScoringOptions(seed=seed)).results[0]) for seed in (1, 2, None)
        ]
    assert [score.seed for score in scores] == [1, 2, 17]
    assert len({score.score for score in scores}) == 3


def test_reductions_and_acquisitions_are_those_asked_for(service: Any, make_frame: Any) -> None:
    options = ScoringOptions(acquisition=Acquisition.VARIATION_RATIO, reduction=Reduction.TOP_K_MEAN, top_k=2)
    with service.client() as client:
        score = result_score(client.score_frames([make_frame("a", proposals=6)], options).results[0])
    assert score.acquisition == scoring_pb2.ACQUISITION_VARIATION_RATIO
    assert score.reduction == scoring_pb2.REDUCTION_TOP_K_MEAN
    ratios = sorted((found.class_uncertainty.variation_ratio for found in score.objects), reverse=True)
    assert score.score == pytest.approx(np.mean(ratios[:2]))


REDUCED: dict[Reduction, Callable[[Any], Any]] = {
    Reduction.MAX: lambda figures: np.max(figures, axis=0),
    Reduction.MEAN: lambda figures: np.mean(figures, axis=0),
    Reduction.SUM: lambda figures: np.sum(figures, axis=0),
    Reduction.TOP_K_MEAN: lambda figures: np.mean(np.sort(figures, axis=0)[-2:], axis=0),
}
CLASS_FIGURES = [field.name for field in scoring_pb2.ClassUncertainty.DESCRIPTOR.fields]
BOX_FIGURES = [field.name for field in scoring_pb2.BoxUncertainty.DESCRIPTOR.fields]


@pytest.mark.parametrize("reduction", Reduction)
def test_the_frames_uncertainty_is_that_of_its_objects_each_figure_reduced(
    service: Any, make_frame: Any, reduction: Reduction
) -> None:
    options = ScoringOptions(acquisition=Acquisition.MUTUAL_INFORMATION, reduction=reduction, top_k=2)
    with service.client() as client:
        score = result_score(client.score_frames([make_frame("a", proposals=5)], options).results[0])
    for name in CLASS_FIGURES:
        expected = REDUCED[reduction]([getattr(found.class_uncertainty, name) for found in score.objects])
        assert getattr(score.class_uncertainty, name) == pytest.approx(expected, abs=1e-12)
    for name in BOX_FIGURES:
        expected = REDUCED[reduction]([getattr(found.box_uncertainty, name) for found in score.objects])
        assert list(getattr(score.box_uncertainty, name)) == pytest.approx(list(expected), rel=1e-6)
    assert score.class_uncertainty.mutual_information_nats == score.score


def test_what_one_sample_does_not_tell_is_unset_and_without_objects_all_is(service: Any, make_frame: Any) -> None:
    bare = ScoringOptions(Estimator.SOFTMAX, include_objects=False)
    frames = [make_frame("a"), make_frame("b", proposals=0)]
    with service.client() as client:
        some, none = (result_score(result) for result in client.score_frames(frames, bare).results)
    assert some.class_uncertainty.predictive_entropy_nats == some.score == some.class_uncertainty.expected_entropy_nats
    assert not some.class_uncertainty.HasField("mutual_information_nats")
    assert not some.class_uncertainty.HasField("variation_ratio")
    assert (len(some.box_uncertainty.aleatoric_variance), len(some.box_uncertainty.epistemic_variance)) == (7, 0)
    assert not none.HasField("class_uncertainty")
    assert not none.HasField("box_uncertainty")


def test_a_frame_without_proposals_scores_zero_and_says_so(service: Any, make_frame: Any) -> None:
    with service.client() as client:
        response = client.score_frames([make_frame("a", proposals=0), make_frame("b")])
    score = result_score(response.results[0])
    assert score.score == 0.0
    assert list(score.flags) == [scoring_pb2.FRAME_FLAG_NO_OBJECTS]
    assert score.samples == 60
    assert result_score(response.results[1]).score > 0


def test_objects_can_be_left_out_and_embeddings_asked_for(service: Any, make_frame: Any) -> None:
    with service.client() as client:
        bare = result_score(client.score_frames([make_frame("a")], ScoringOptions(include_objects=False)).results[0])
        rich = result_score(client.score_frames([make_frame("a")], ScoringOptions(include_embedding=True)).results[0])
    assert not bare.objects
    assert bare.score == rich.score
    assert tensor_values(rich.objects[0].embedding).shape == (16,)


def test_few_points_and_the_image_border_are_flagged(service: Any, make_frame: Any, calibration: Any) -> None:
    from quandary import Frame, ImageBox, Proposal

    border = Proposal(ImageBox(-5.0, 100.0, 60.0, 200.0))
    empty = Frame("a", calibration, [border], points=np.empty((0, 4), np.float32))
    with service.client() as client:
        (found,) = result_score(client.score_frames([empty]).results[0]).objects
    assert set(found.flags) == {
        scoring_pb2.OBJECT_FLAG_TOO_FEW_POINTS,
        scoring_pb2.OBJECT_FLAG_NO_POINTS,
        scoring_pb2.OBJECT_FLAG_TRUNCATED,
    }
    assert found.points == 0


def test_a_stream_answers_every_frame_in_order_with_its_sequence(service: Any, make_frame: Any) -> None:
    frames = [make_frame(f"f{i}", seed=i) for i in range(20)]
    with service.client() as client:
        answers = list(client.stream_scores(iter(frames)))
        alone = client.score_frames([frames[7]]).results[0]
    assert [answer.sequence for answer in answers] == list(range(20))
    assert [answer.result.frame_id for answer in answers] == [frame.frame_id for frame in frames]
    assert answers[7].result.SerializeToString() == alone.SerializeToString()


def test_before_the_first_promotion_nothing_is_scored_and_the_status_says_so(empty_service: Any, make_frame: Any) -> None:
    with empty_service.client() as client:
        with pytest.raises(NoGeneration, match="no generation has been promoted yet"):
            client.score_frames([make_frame("a")])
        with pytest.raises(NoGeneration):
            list(client.stream_scores([make_frame("a")]))
        status = client.serving_status()
    assert (status.generation, status.ready, status.replica) == ("", False, "replica-1")


def test_the_status_names_generation_and_limits(service: Any) -> None:
    with service.client() as client:
        status = client.serving_status()
    assert status.ready
    assert list(status.resident_generations) == [status.generation]
    assert tuple(status.class_names) == CLASSES
    assert (status.members, status.limits.max_proposals) == (3, 6)


def test_the_previous_generation_answers_when_pinned_and_no_other(service: Any, make_frame: Any) -> None:
    first = service.keeper.generation().id
    second, third = service.register(2.0), service.register(3.0)
    service.promote(second)
    with service.client() as client:
        assert client.score_frames([make_frame("a")]).generation == second
        assert client.score_frames([make_frame("a")], ScoringOptions(generation=first)).generation == first
        service.promote(third)
        with pytest.raises(GenerationNotResident, match=f"resident: {third}, {second}"):
            client.score_frames([make_frame("a")], ScoringOptions(generation=first))


def test_calls_are_counted_by_method_and_code(service: Any, make_frame: Any) -> None:
    with service.client() as client:
        client.score_frames([make_frame("a")])
        with pytest.raises(GenerationNotResident):
            client.score_frames([make_frame("a")], ScoringOptions(generation="g000099-00000000"))
    assert service.calls[-2:] == [("ScoreFrames", "OK"), ("ScoreFrames", "FAILED_PRECONDITION")]
