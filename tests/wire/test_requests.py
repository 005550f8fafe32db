import pytest

from quandary.errors import InvalidArgument
from quandary.v1 import labels_pb2, view_pb2
from quandary_server.registry.directory import Artefacts
from quandary_server.wire.requests import MAX_LABELS, labels_of, view_of
from quandary_server.wire.training import generation_message

UNKNOWN: view_pb2.View.ValueType = 9  # type: ignore[assignment]


def test_a_view_is_the_one_asked_for_or_the_default() -> None:
    assert view_of(view_pb2.VIEW_FULL, view_pb2.VIEW_BASIC) == view_pb2.VIEW_FULL
    assert view_of(view_pb2.VIEW_UNSPECIFIED, view_pb2.VIEW_BASIC) == view_pb2.VIEW_BASIC


def test_an_unknown_view_is_refused_wherever_it_is_asked_for(generation: Artefacts) -> None:
    with pytest.raises(InvalidArgument, match="view is 9, must be a View"):
        view_of(UNKNOWN, view_pb2.VIEW_BASIC)
    with pytest.raises(InvalidArgument, match="view is 9"):
        generation_message(generation.manifest, None, UNKNOWN)
    assert generation_message(generation.manifest, None, view_pb2.VIEW_FULL).digests
    assert not generation_message(generation.manifest, None, view_pb2.VIEW_UNSPECIFIED).digests


def test_a_frame_has_a_bounded_number_of_labels_and_of_regions() -> None:
    with pytest.raises(InvalidArgument, match="labels is 1001 labels, must be at most 1000"):
        labels_of(labels_pb2.FrameLabels(frame_id="a", labels=[labels_pb2.Label()] * (MAX_LABELS + 1)))
    regions = [labels_pb2.FrameLabels().ignored_regions.add() for _ in range(MAX_LABELS + 1)]
    with pytest.raises(InvalidArgument, match="ignored_regions is 1001 regions, must be at most 1000"):
        labels_of(labels_pb2.FrameLabels(frame_id="a", ignored_regions=regions))
