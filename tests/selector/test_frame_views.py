"""What a query sees of FrameScores, ours and those from upstream."""

import numpy as np
import pytest

from quandary import convert
from quandary.labels import CLASSES
from quandary.v1 import scoring_pb2
from quandary_server.selector.frame_views import UNSEEN, FrameView, frame_view


def score_of(*objects: scoring_pb2.ObjectScore, names: tuple[str, ...] = CLASSES) -> FrameView:
    return frame_view(scoring_pb2.FrameScore(class_names=names, objects=objects).SerializeToString())


def object_of(probabilities: list[float], embedding: list[float] | None = None) -> scoring_pb2.ObjectScore:
    found = scoring_pb2.ObjectScore(class_probabilities=probabilities)
    if embedding is not None:
        found.embedding.CopyFrom(convert.tensor_message(np.array(embedding, np.float32)))
    return found


CAR = [0.75, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.25]
VAN = [0.25, 0.5, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.25]


def test_shares_are_expected_counts_and_the_embedding_is_the_mean_of_unit_ones() -> None:
    view = score_of(object_of(CAR, [0.0, 3.0]), object_of(VAN, [0.5, 0.0]))
    assert view.class_shares.tolist() == [1.0, 0.5, 0, 0, 0, 0, 0, 0, 0.5]
    assert view.embedding is not None
    assert view.embedding.tolist() == [0.5, 0.5]
    assert view.embedding.dtype == np.float32


def test_nothing_is_known_of_a_frame_without_score_or_objects() -> None:
    assert frame_view(None) is UNSEEN
    for view in (UNSEEN, score_of()):
        assert view.embedding is None
        assert view.class_shares.tolist() == [0.0] * len(CLASSES)


def test_classes_go_by_name() -> None:
    view = score_of(object_of([0.25, 0.25, 0.5]), names=("Bus", "Background", "Van"))
    assert view.class_shares.tolist() == [0, 0.5, 0, 0, 0, 0, 0, 0, 0.25]


@pytest.mark.parametrize(
    "probabilities", [[0.5], [], [*CAR, 0.0], [float("nan"), *CAR[1:]], [-0.5, *CAR[1:]], [3e38, *CAR[1:]]]
)
def test_an_object_with_malformed_probabilities_does_not_count(probabilities: list[float]) -> None:
    assert score_of(object_of(probabilities), object_of(VAN)).class_shares.tolist() == VAN


@pytest.mark.parametrize("other", [[1.0], [float("nan"), 0.0], [float("inf"), 0.0]])
def test_malformed_embeddings_are_unknown(other: list[float]) -> None:
    assert score_of(object_of(CAR, [1.0, 0.0]), object_of(CAR, other)).embedding is None


def test_a_tensor_that_cannot_be_read_is_unknown() -> None:
    found = object_of(CAR, [1.0, 0.0])
    found.embedding.data = b"torn"
    view = score_of(found)
    assert view.embedding is None
    assert view.class_shares.tolist() == CAR
